"""Who wrote a table, and so what its columns mean.

Output contract: `entry_for` gives the entry of `curate.read.tables` that a file's name matches; `recognise` names what
reads its records: that entry, a layout of conversations, or a ticket table of `LAYOUTS`, which has question and answer
in a row. Raises `InputError` with the columns that are there, and what to do.
This module reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from pipeline.config import Read, TableSource
from pipeline.errors import InputError
from pipeline.read import table
from pipeline.read.conversations import conversation, mapped, products
from pipeline.read.helpdesks import freshdesk, zendesk
from pipeline.read.helpdesks.layout import Layout
from pipeline.read.inputs.input_file import InputFile

LAYOUTS: dict[str, Layout] = {"zendesk": zendesk.LAYOUT, "freshdesk": freshdesk.LAYOUT}
MAPPED = "messages"  # the layout of a file whose entry says where the messages are
SURE = 2  # columns that only one product has
EXAMPLE = '{match: "NAME", columns: {prompt: QUESTION COLUMN, response: ANSWER COLUMN}}'


def entry_for(paths: Sequence[str], settings: Read) -> TableSource | None:
    """Returns the first entry of `curate.read.tables` that matches one of a file's paths, or its name."""
    names = [*paths, *(PurePosixPath(path).name for path in paths)]
    return next((entry for entry in settings.tables if any(fnmatchcase(name, entry.match) for name in names)), None)


def join_of(file: InputFile) -> str:
    """Returns what a file's records are joined by with those of other files, "" where each stands for itself."""
    known = file.layout == MAPPED or file.layout in products.LAYOUTS
    return conversation_layout(file.layout, file.entry).joined if known else ""


def conversation_layout(name: str, entry: TableSource | None) -> conversation.Layout:
    """Returns the layout of conversations with a name that `recognise` gave."""
    mapping = entry.messages if entry is not None else None
    return products.LAYOUTS[name] if mapping is None else mapped.layout(mapping)


def recognise(path: str, names: Sequence[str], objects: bool, entry: TableSource | None) -> str:
    """Returns the name of the layout of a table with these columns, "" where the entry has them.

    `names`: the columns, or (`objects`) the keys of JSON objects or of Parquet. Raises `InputError`.
    """
    if entry is not None:
        if entry.columns is not None:
            table.check(entry.columns, names, path)
        if entry.messages is not None:
            mapped.check_names(entry.messages, names, path)
        return "" if entry.messages is None else MAPPED
    talks = products.recognise(names)
    likeliest = max(LAYOUTS, key=lambda name: LAYOUTS[name].score(names))
    if LAYOUTS[likeliest].score(names) < SURE:
        likeliest = next((name for name, layout in LAYOUTS.items() if layout.fits(names)), "")
        surely = False
    else:
        surely = not objects
    if talks is not None and talks.messages and not surely:
        likeliest = ""  # a Jira issue has a `Resolution`, too, and it is no answer
    try:
        if likeliest:
            LAYOUTS[likeliest].locate(names, path)
            return likeliest
    except InputError:
        if talks is None:
            raise
    if talks is not None:
        return talks.name
    what = "a table that no entry in curate.read.tables matches" if objects else "no help desk's export that is known"
    raise InputError(
        f"{path} is {what}; its columns are {table.listing(names)}. Say which column is the question and which the "
        f"answer, in curate.read.tables: {EXAMPLE.replace('NAME', PurePosixPath(path).name)} (or, for conversations, "
        f"{table.MESSAGES}). Or leave it out with curate.read.ignore"
    )
