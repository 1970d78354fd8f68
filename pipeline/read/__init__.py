"""Reading CRM exports, tables, pages and mails into WORKING rows.

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
from pipeline.read import html_page, mail_rows, markdown, table, ticket
from pipeline.read.files import Discovery, discover
from pipeline.read.inputs.input_file import InputFile
from pipeline.read.inputs.open_inputs import Span, open_text
from pipeline.read.inputs.walk import decompressed
from pipeline.read.layouts import LAYOUTS
from pipeline.read.rows import PART_ROWS, Row, collect
from pipeline.read.tables import json_documents, json_lines, parquet, workbook
from pipeline.read.tables.csvfile import Record, read_header, read_records
from pipeline.read.tables.json_lines import Object
from pipeline.read.tables.ranges import pieces

__all__ = ["Discovery", "InputFile", "discover", "pieces", "read"]


def _span(file: InputFile) -> Span:
    return file.span or Span(0, file.size, 1)


def records(file: InputFile) -> Iterator[Record]:
    """Yields the records of a CSV file or a sheet, below its header."""
    if file.format == "xlsx":
        return workbook.records(file.uri, file.part)
    header = read_header(file.uri, file.encoding)
    if header is None:
        raise InputError(f"{file.uri} has lost its header since it was found: run the job again")
    return read_records(file.uri, file.encoding, _span(file), header)


def objects(file: InputFile) -> Iterator[Object]:
    """Yields the objects of JSON lines or of a JSON document; of Parquet the rows, with the columns that are mapped."""
    if file.format == "json":
        return json_documents.objects(file.uri, file.encoding, file.part)
    if file.format == "jsonl":
        return json_lines.objects(file.uri, file.encoding, _span(file))
    wanted = table.mapped(file.entry.columns) if file.entry else list(file.names)
    return parquet.objects(file.uri, file.span, wanted, file.entry.columns.created_at if file.entry else None)


def _page(file: InputFile, settings: Read) -> Iterator[Row]:
    path = PurePosixPath(decompressed(file.path))
    with open_text(file.uri, file.encoding, end=file.size) as text:
        if file.format == "html":
            return html_page.rows(text.read(), path.stem, settings.markdown)
        return markdown.rows(text.read(), path.stem, path.suffix.lower() == ".mdx", settings.markdown)


def _rows(file: InputFile, settings: Read) -> Iterator[Row]:
    if file.blank:
        return iter([Row(1, readable=False)])
    if file.format == "mail":
        return mail_rows.rows(file, settings.mail)
    if file.format in ("markdown", "html"):
        return _page(file, settings)
    mappings = file.format in ("json", "jsonl", "parquet")
    if file.entry is not None:
        columns = file.entry.columns
        return (
            table.object_rows(objects(file), columns)
            if mappings
            else table.csv_rows(records(file), file.names, columns)
        )
    layout = LAYOUTS[file.layout]
    found = table.records_of(objects(file), file.names) if mappings else records(file)
    return ticket.rows(layout, found, layout.locate(file.names, file.path))


def read(file: InputFile, settings: Read, most: int = PART_ROWS) -> Iterator[pa.Table]:
    """Reads one file of a `Discovery`, or its `span`; yields WORKING tables of at most `most` rows, in order."""
    yield from collect(_rows(file, settings), file.source, file.path, most)
