"""Who wrote a table, and so what its columns mean.

Output contract: `entry_for` gives the entry of `curate.read.tables` that a file's name matches; `recognise` names what
reads its records: that entry, or a help desk of `LAYOUTS`. Raises `InputError` with the columns that are there, and
what to do.
This module reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from pipeline.config import Read, TableSource
from pipeline.errors import InputError
from pipeline.read import table
from pipeline.read.helpdesks import freshdesk, zendesk
from pipeline.read.helpdesks.layout import Layout

LAYOUTS: dict[str, Layout] = {"zendesk": zendesk.LAYOUT, "freshdesk": freshdesk.LAYOUT}
SURE = 2  # columns that only one product has
EXAMPLE = '{match: "NAME", columns: {prompt: QUESTION COLUMN, response: ANSWER COLUMN}}'


def entry_for(paths: Sequence[str], settings: Read) -> TableSource | None:
    """Returns the first entry of `curate.read.tables` that matches one of a file's paths, or its name."""
    names = [*paths, *(PurePosixPath(path).name for path in paths)]
    return next((entry for entry in settings.tables if any(fnmatchcase(name, entry.match) for name in names)), None)


def recognise(path: str, names: Sequence[str], objects: bool, entry: TableSource | None) -> str:
    """Returns the name of the layout of a table with these columns, "" where the entry has them.

    `names`: the columns, or (`objects`) the keys of JSON objects or of Parquet. Raises `InputError`.
    """
    if entry is not None:
        table.check(entry.columns, names, path)
        return ""
    likeliest = max(LAYOUTS, key=lambda name: LAYOUTS[name].score(names))
    if LAYOUTS[likeliest].score(names) >= SURE:
        LAYOUTS[likeliest].locate(names, path)
        return likeliest
    for name, layout in LAYOUTS.items():
        if layout.fits(names):
            layout.locate(names, path)
            return name
    what = (
        "a table that no entry in curate.read.tables matches" if objects else "neither a Zendesk nor a Freshdesk export"
    )
    raise InputError(
        f"{path} is {what}; its columns are {table.listing(names)}. Say which column is the question and which the "
        f"answer, in curate.read.tables: {EXAMPLE.replace('NAME', PurePosixPath(path).name)}. Or leave it out with "
        "curate.read.ignore"
    )
