"""What a table file holds, record by record, whatever it is written in.

Output contract: `records` yields (line, fields) of a CSV file or a sheet, `objects` (line, object) of JSON and Parquet;
None stands for one that is damaged. Streaming.
This module does not know what columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.errors import InputError
from pipeline.read.inputs.input_file import InputFile
from pipeline.read.inputs.open_inputs import Span
from pipeline.read.tables import json_documents, json_lines, parquet, workbook
from pipeline.read.tables.csvfile import Record, read_header, read_records
from pipeline.read.tables.json_lines import Object

OBJECTS = ("json", "jsonl", "parquet")  # formats whose records are objects


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
    columns = file.entry.columns if file.entry else None
    wanted = file.names if columns is None else columns.mapped
    return parquet.objects(file.uri, file.span, wanted, None if columns is None else columns.created_at)
