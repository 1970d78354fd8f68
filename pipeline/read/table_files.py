"""Tables among the inputs: what is in them, and who wrote them.

Output contract: `tables` yields a table file with its columns and layout, each sheet of a workbook and the list of a
JSON document that is read, and as left out what else is in them. Raises `InputError` where nothing in a file is a table
that can be read.
This module reads headers; JSON documents and workbooks it reads through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from pipeline.errors import InputError
from pipeline.read import contents, layouts, table
from pipeline.read.contents import OBJECTS
from pipeline.read.conversations import mapped
from pipeline.read.inputs.input_file import InputFile
from pipeline.read.inputs.left_out import LeftOut
from pipeline.read.inputs.open_inputs import open_text
from pipeline.read.tables import json_documents, json_lines, parquet, workbook
from pipeline.read.tables.csvfile import read_header

SAMPLE = 1_000  # records whose values are looked at


def tables(file: InputFile) -> Iterator[InputFile | LeftOut]:
    """Yields what is read of a table file, and what is not."""
    if file.size == 0:
        yield replace(file, blank=True)
    elif file.format == "csv":
        header = read_header(file.uri, file.encoding)
        yield replace(file, blank=True) if header is None else _checked(_known(file, header.names, "in its first line"))
    elif file.format == "parquet":
        yield _checked(_known(file, parquet.names(file.uri), ""))
    elif file.format == "xlsx":
        yield from _sheets(file, workbook.sheets(file.uri))
    else:
        yield from _json(file)


def _known(file: InputFile, names: Sequence[str], where: str) -> InputFile:
    """Returns a table with who wrote it; raises `InputError` where nobody known did."""
    objects = file.format in OBJECTS
    if not any(names):
        raise InputError(f"{file.path} has no {'JSON object' if objects else 'column names'} {where}".rstrip())
    layout = layouts.recognise(file.path, names, objects, file.entry)
    return replace(file, layout=layout, names=tuple(names))


def _sample(file: InputFile) -> list[Mapping[str, Any]]:
    """Returns the first records of a table under the names of its columns; the file is closed again."""
    objects = file.format in OBJECTS
    found = contents.objects(file) if objects else table.named(contents.records(file), file.names)
    return [value for _, value in islice(found, SAMPLE) if value is not None]


def _checked(file: InputFile) -> InputFile:
    """Returns a table that is read; raises `InputError` where its first records have other values than it promises."""
    sample = _sample(file)
    columns = file.entry.columns if file.entry else None
    if file.entry is not None and file.entry.messages is not None:
        mapped.check(file.entry.messages, sample, file.path)
    elif columns is not None:
        table.check_values(columns.mapped, sample, file.path)
    elif file.layout in layouts.LAYOUTS:
        places = layouts.LAYOUTS[file.layout].locate(file.names, file.path)
        table.check_values([file.names[at] for at in places.at.values() if at is not None], sample, file.path)
    return file


def _sheets(file: InputFile, sheets: Sequence[workbook.Sheet]) -> Iterator[InputFile | LeftOut]:
    """Yields the sheets of a workbook that are tables of tickets; there must be one."""
    wanted = file.entry.part if file.entry else None
    if wanted is not None and wanted not in [sheet.name for sheet in sheets]:
        raise InputError(f"{file.path} has no sheet `{wanted}`; it has {table.listing([s.name for s in sheets])}")
    failed: list[tuple[str, InputError]] = []
    for sheet in sheets:
        below = f"/{sheet.name}" if len(sheets) > 1 else ""
        part = replace(file, path=file.path + below, source=file.source + below, part=sheet.name)
        if wanted not in (None, sheet.name):
            yield LeftOut(part.path, "another sheet than the one that curate.read.tables names")
            continue
        try:
            yield _checked(_known(part, sheet.names, "in its first row"))
        except InputError as error:
            failed.append((part.path, error))
    if not sheets:
        yield replace(file, blank=True)
    elif len(failed) == (len(sheets) if wanted is None else 1):
        raise failed[0][1]
    for path, _ in failed:
        yield LeftOut(path, "a sheet that is no table of tickets: an entry in curate.read.tables can name its columns")


def _json(file: InputFile) -> Iterator[InputFile | LeftOut]:
    """Yields lines of JSON, or the list of objects of a document that is read."""
    with open_text(file.uri, file.encoding) as text:
        head = text.read(json_documents.HEAD)
    if not json_documents.is_document(head, lines=file.format == "jsonl"):
        names = json_lines.names(file.uri, file.encoding, file.size)
        lines = replace(file, format="jsonl")
        where = f"in one of its first {json_lines.SAMPLE} lines"
        yield replace(lines, blank=True) if names is None else _checked(_known(lines, names, where))
        return
    document = replace(file, format="json")
    lists = json_documents.survey(file.uri, file.encoding)
    chosen = _list(document, lists)
    tables = [chosen, *_joined(document, chosen, lists)]
    yield from map(_checked, tables)
    others = [path for path in lists if path not in ("", *(table.part for table in tables))] if chosen.part else []
    for path in others:
        yield LeftOut(f"{file.path}/{path}", "another list of a JSON document: `part` in curate.read.tables names one")


def _joined(file: InputFile, chosen: InputFile, lists: dict[str, json_documents.Listed]) -> Iterator[InputFile]:
    """Yields the document's other lists that are parts of the same conversations."""
    join = layouts.join_of(chosen)
    for path in lists if chosen.part and chosen.entry is None and join else ():
        try:
            found = _known(file, list(lists[path].names), "in it")
        except InputError:
            continue
        if path not in ("", chosen.part) and layouts.join_of(found) == join:
            yield replace(found, part=path, source=f"{file.source}/{path}")


def _list(file: InputFile, lists: dict[str, json_documents.Listed]) -> InputFile:
    """Returns the document with the list that is read: the one that `part` names, or the first that can be read; the
    document's own objects are tried before the lists in them, longer lists before shorter ones."""
    if file.entry is not None and file.entry.part is not None:
        if file.entry.part not in lists:
            known = [path for path in lists if path]
            raise InputError(f"{file.path} has no list of objects `{file.entry.part}`; it has {table.listing(known)}")
        lists = {file.entry.part: lists[file.entry.part]}
    errors: list[InputError] = []
    for path in sorted(lists, key=lambda path: (path != "", -lists[path].count)):
        try:
            found = _known(file, list(lists[path].names), "in it")
        except InputError as error:
            errors.append(error)
        else:
            return replace(found, part=path)
    raise errors[1 if len(errors) > 1 else 0]  # of the longest list, where there is one
