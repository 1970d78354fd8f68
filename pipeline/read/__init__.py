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
from pipeline.read import conversation_rows, html_page, mail_rows, markdown, table
from pipeline.read.contents import OBJECTS, objects, records
from pipeline.read.conversations.join import Told, joined
from pipeline.read.files import Discovery, discover
from pipeline.read.inputs.input_file import InputFile
from pipeline.read.inputs.open_inputs import open_text
from pipeline.read.inputs.walk import decompressed
from pipeline.read.layouts import LAYOUTS, conversation_layout
from pipeline.read.rows import PART_ROWS, Row, collect
from pipeline.read.tables.ranges import pieces

__all__ = ["Discovery", "InputFile", "discover", "pieces", "read"]


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
    mappings = file.format in OBJECTS
    if file.entry is not None and file.entry.columns is not None:
        columns = file.entry.columns
        return (
            table.object_rows(objects(file), columns)
            if mappings
            else table.csv_rows(records(file), file.names, columns)
        )
    if file.layout not in LAYOUTS:
        return conversation_rows.rows(_conversations(file), settings)
    layout = LAYOUTS[file.layout]
    places = layout.locate(file.names, file.path)
    found = table.records_of(objects(file), file.names, places.used()) if mappings else records(file)
    return conversation_rows.table_rows(layout, found, places, settings)


def _conversations(file: InputFile) -> Iterator[Told]:
    """Yields the conversations of a file; of files that are joined, those of all of them."""
    if not file.partners:
        return _told(file)
    return joined(one for partner in file.partners for one in _told(partner))


def _told(file: InputFile) -> Iterator[Told]:
    """Yields what each record of a file tells of a conversation, with the place where it stands."""
    layout = conversation_layout(file.layout, file.entry)
    if file.format in OBJECTS:
        found = layout.of_documents(objects(file))
    else:
        found = layout.of_records(file.names, records(file))
    return (((file.path, line), conversation) for line, conversation in found)


def read(file: InputFile, settings: Read, most: int = PART_ROWS) -> Iterator[pa.Table]:
    """Reads one file of a `Discovery`, or its `span`; yields WORKING tables of at most `most` rows, in order."""
    yield from collect(_rows(file, settings), file.source, file.path, most)
