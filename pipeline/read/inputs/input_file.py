"""What discovery says about a file: all that reading it needs.

Output contract: `InputFile` can be pickled; the same input gives the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.config import TableSource
from pipeline.read.inputs.open_inputs import Span

Format = Literal["csv", "xlsx", "jsonl", "json", "parquet", "markdown", "html", "mail"]
PAGES = ("markdown", "html")


@dataclass(frozen=True)
class InputFile:
    """One file to read, a list of a JSON document or a sheet of a workbook."""

    source: str
    format: Format  # how bytes become records
    uri: str  # absolute local path or URI; a `Member` for what is inside an archive
    path: str  # relative to its input, with forward slashes
    size: int  # bytes, unpacked
    digest: str  # BLAKE2b-128 of the content, hex
    encoding: str  # of a text file; "" for others
    layout: str = ""  # who wrote a table: a name of `layouts.LAYOUTS`; "": `entry` says what its columns are
    entry: TableSource | None = None  # of curate.read.tables
    names: tuple[str, ...] = ()  # columns of a table, or keys of its first objects
    part: str = ""  # path of a list in a JSON document, "" for its own objects; name of a sheet
    blank: bool = False  # a table with nothing in it
    span: Span | None = None  # the part of the file that is to be read, None: all of it
    partners: tuple[InputFile, ...] = ()  # files that are read together as this one


def together(files: Sequence[InputFile]) -> InputFile:
    """Returns files that are read as one, under the name of the first; what several parts share is one file's bytes."""
    digest = hashlib.blake2b("".join(file.digest + file.part for file in files).encode(), digest_size=16).hexdigest()
    size = sum(file.size for file in {file.uri: file for file in files}.values())
    return replace(files[0], size=size, digest=digest, partners=tuple(files))
