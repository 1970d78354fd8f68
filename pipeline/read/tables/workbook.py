"""Excel workbooks (.xlsx, .xlsm, .xls) as tables, a sheet each.

Output contract: `sheets` gives the sheets that hold something, with the names of their columns; `records` yields the
rows below the header as texts, with their row numbers in Excel (1-based); rows without text are none. A whole number is
written without a fraction, a date as ISO 8601. Raises `InputError` for a workbook that cannot be read, with a password
among them, or one that is too large: python-calamine holds a sheet in memory, as a rectangle.
This module does not know what columns mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import chain, islice
from typing import Any

from pipeline.errors import InputError
from pipeline.read.inputs import archives
from pipeline.read.inputs.open_inputs import BLOCK, open_random
from pipeline.read.tables.csvfile import Record
from pipeline.read.tables.header import SAMPLE, header_at

LARGEST = 1 << 30  # bytes of a workbook's sheets as XML
CELLS = 50_000_000  # of the rectangle around a sheet's cells, empty ones included
CELL = re.compile(rb'<(?:\w+:)?c [^<>]{0,40}?r="([A-Z]{1,3})(\d{1,7})"')
SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")


@dataclass(frozen=True)
class Sheet:
    name: str
    names: tuple[str, ...]  # of its columns


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _rectangle(stream: Any) -> int:
    """Returns how many cells the smallest rectangle from A1 around a sheet's cells holds."""
    columns: set[bytes] = set()
    last, rest = 0, b""
    while block := stream.read(BLOCK):
        for letters, row in CELL.findall(rest + block):
            columns.add(letters)
            last = max(last, int(row))
        rest = block[-80:]
    return last * max(map(_column, columns), default=0)


def _check(uri: str) -> None:
    """Raises `InputError` for a workbook that would not fit into memory."""
    with open_random(uri) as stream:
        if archives.kind_of(stream.read(8)) != "zip":
            return  # the older format, which knows 65,536 rows and 256 columns
        stream.seek(0)
        with archives.open_zip(stream) as archive:
            infos = [info for info in archive.infolist() if info.filename.startswith("xl/")]
            sheets = [info for info in infos if SHEET.fullmatch(info.filename)]
            if sum(info.file_size for info in infos) <= LARGEST:
                areas = []
                for info in sheets:
                    with archive.open(info) as sheet:
                        areas.append(_rectangle(sheet))
                if sum(areas) <= CELLS:
                    return
    raise InputError(f"{uri} is too large for a workbook, or has a cell far outside its table: save it as CSV")


def _open(uri: str) -> Any:
    import python_calamine

    try:
        _check(uri)
        return python_calamine.CalamineWorkbook.from_object(open_random(uri))
    except python_calamine.PasswordError as error:
        raise InputError(f"{uri} is protected by a password: save it without one, or as CSV") from error
    except (python_calamine.CalamineError, *archives.BROKEN) as error:
        raise InputError(f"{uri} is not a whole Excel workbook ({_said(error)}): save it again, or as CSV") from error


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _rows(uri: str, workbook: Any, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yields (row number, cells) for each row with text."""
    try:
        for number, cells in enumerate(workbook.get_sheet_by_name(name).iter_rows(), 1):
            texts = [_text(cell) for cell in cells]
            if any(texts):
                yield number, texts
    except InputError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":  # calamine's, no `Exception`
            raise InputError(f"{uri}: the sheet `{name}` cannot be read ({_said(error)}): save it as CSV") from error
        raise


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    return cell.isoformat() if isinstance(cell, datetime | date | time) else str(cell)


def _header(rows: Sequence[tuple[int, list[str]]]) -> tuple[tuple[str, ...], int]:
    number, cells = rows[header_at([cells for _, cells in rows])]
    return tuple(cell.strip() for cell in cells), number


def sheets(uri: str) -> list[Sheet]:
    """Returns the sheets with something in them; raises `InputError`."""
    workbook = _open(uri)
    first = ((name, list(islice(_rows(uri, workbook, name), SAMPLE))) for name in workbook.sheet_names)
    return [Sheet(name, _header(rows)[0]) for name, rows in first if rows]


def records(uri: str, name: str) -> Iterator[Record]:
    """Yields the rows below the header of a sheet."""
    rows = _rows(uri, _open(uri), name)
    first = list(islice(rows, SAMPLE))
    _, line = _header(first)
    yield from ((number, cells) for number, cells in chain(first, rows) if number > line)
