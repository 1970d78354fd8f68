"""Reading CRM exports, tables and Markdown pages into WORKING rows.

    found = discover(["dumps/"], settings)      # what is there, what is wrong, before any work starts
    for file in found.files:
        for part in read(file, settings): ...   # WORKING tables of at most `PART_ROWS` rows

Output contract: every row of every file comes out exactly once: parsed, or marked by stage `read` as `unreadable`,
`empty_prompt` or `empty_response` with the line it starts on. Memory: one part.
This package does not judge text, and does not know where its rows go.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import pyarrow as pa

from pipeline.config import Read
from pipeline.errors import InputError
from pipeline.read import freshdesk, markdown, table, zendesk
from pipeline.read.csvfile import read_header, read_records
from pipeline.read.files import Discovery, InputFile, discover
from pipeline.read.open_inputs import Span, open_text
from pipeline.read.ranges import pieces
from pipeline.read.rows import PART_ROWS, Row, collect

__all__ = ["Discovery", "InputFile", "discover", "pieces", "read"]


def _rows(file: InputFile, settings: Read) -> Iterator[Row]:
    if file.blank:
        return iter([Row(1, readable=False)])
    if file.columns is not None and file.format == "parquet":
        return table.parquet_rows(file.uri, file.span, file.columns)
    span = file.span or Span(0, file.size, 1)
    if file.format == "markdown":
        path = PurePosixPath(file.path)
        with open_text(file.uri, file.encoding, span.start, span.end) as text:
            return markdown.rows(text.read(), path.stem, path.suffix.lower() == ".mdx", settings.markdown)
    if file.columns is not None and file.format == "jsonl":
        return table.jsonl_rows(file.uri, file.encoding, span, file.columns)
    header = read_header(file.uri, file.encoding)
    if header is None:
        raise InputError(f"{file.uri} has lost its header since it was found: run the job again")
    found = read_records(file.uri, file.encoding, span, header)
    if file.columns is not None:
        return table.csv_rows(found, header.names, file.columns)
    layout = zendesk.LAYOUT if file.format == "zendesk" else freshdesk.LAYOUT
    return layout.rows(found, layout.locate(header.names, file.path))


def read(file: InputFile, settings: Read, most: int = PART_ROWS) -> Iterator[pa.Table]:
    """Reads one file of a `Discovery`, or its `span`; yields WORKING tables of at most `most` rows, in order."""
    yield from collect(_rows(file, settings), file.source, file.path, most)
