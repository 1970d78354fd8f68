"""Tables with a column map: CSV and TSV, JSON lines, Parquet.

Output contract: `column_names` gives what a file's columns are called, `check` raises `InputError` when the map names
others; the row functions yield a `Row` per record, streaming, its text cleaned unless the map says otherwise. A value
that is not text becomes `str(value)`; none, and NaN, become the empty text. A line that is not a JSON object is
unreadable.
This module does not decide which map belongs to which file.
"""

from __future__ import annotations

import difflib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Columns
from pipeline.errors import InputError
from pipeline.read.csvfile import Record
from pipeline.read.open_inputs import Span, open_random, whole_lines
from pipeline.read.rows import RESOLVED, UNDEFINED, Row, number, parse_time, people
from pipeline.read.text import Cleaned, as_it_is, clean, field_text, joined, summed

SAMPLE = 1_000  # JSON lines whose keys count as the file's columns
UNREADABLE = object()
NAN = frozenset({"nan", "NaN"})  # as a cell of its own
BROKEN = (
    pa.ArrowException,
    OSError,
    ValueError,
)  # what pyarrow raises for a damaged file; names that are not UTF-8, too
BATCH = 1_000  # rows of a Parquet file in memory at once
BATCH_BYTES = 4 << 20  # or fewer, if that is what they take on average


def listing(names: Sequence[str], most: int = 40) -> str:
    """Returns column names for a message, long ones and long lists cut short."""
    shown = ", ".join(f"`{name[:40]}`" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def check(columns: Columns, names: Sequence[str], path: str) -> None:
    """Raises `InputError` when a mapped column is not in the file, or is there twice."""
    missing = [name for name in columns.mapped if name not in names]
    if missing:
        hints = []
        for name in missing:
            close = difflib.get_close_matches(name, names, n=1)
            hints.append(f"`{name}`" + (f" (did you mean `{close[0]}`?)" if close else ""))
        raise InputError(f"{path} has no column {', '.join(hints)}; its columns are {listing(names)}")
    if twice := [name for name in columns.mapped if names.count(name) > 1]:
        raise InputError(f"{path} has two columns called {listing(twice)}; rename the one that is not meant")


def _text(value: Any) -> str:
    """Returns a value as text. NaN is how Python writes that there is none; a number that a tool has made a float
    because some cells are empty keeps its digits."""
    if isinstance(value, str):
        return "" if value in NAN else value
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):  # Parquet's text without a sign that it is text
        return value.decode("utf-8", "undefined")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _question(texts: Sequence[str], columns: Columns) -> Cleaned:
    if not columns.clean:
        return joined(*map(as_it_is, texts))
    return joined(*(clean(text, "customer", texts[:at]) for at, text in enumerate(texts)))


def _answer(texts: Sequence[str], asked: Sequence[str], columns: Columns) -> Cleaned:
    if not columns.clean:
        return joined(*map(as_it_is, texts))
    return joined(*(clean(text, "agent", [*asked, *texts[:at]]) for at, text in enumerate(texts)))


def _mapped(line: int, get: Callable[[str], Any], columns: Columns) -> Row:
    """Makes a row; `get` gives a column's value by its name."""

    def text(name: str | None) -> str:
        return _text(get(name)) if name else ""

    def short(name: str | None) -> str:
        return field_text(text(name))

    created = get(columns.created_at) if columns.created_at else None
    created = None if created is UNREADABLE else created
    status = text(columns.status).strip().casefold()
    known = (columns.names, columns.emails, columns.phones)
    asked, answered = [text(name) for name in columns.prompts], [text(name) for name in columns.responses]
    prompt, response = _question(asked, columns), _answer(answered, asked, columns)
    return Row(
        line,
        prompt.text,
        response.text,
        source_id=number(text(columns.source_id)),
        label=short(columns.label) or None,
        created_at=parse_time(created.isoformat() if isinstance(created, datetime) else _text(created)),
        resolved=status in RESOLVED if columns.status else None,
        entities=people(*(tuple([short(name) for name in names]) for names in known)),
        characters=sum(map(len, asked)) + sum(map(len, answered)) + prompt.added + response.added,
        removed=summed(prompt, response),
    )


def csv_rows(records: Iterable[Record], header: Sequence[str], columns: Columns) -> Iterator[Row]:
    """Makes a row of every record of a CSV or TSV."""
    at = {name: position for position, name in enumerate(header)}
    for line, fields in records:
        if fields is None:
            yield Row(line, readable=False)
        else:
            yield _mapped(line, lambda name, fields=fields: fields[at[name]], columns)  # type: ignore[misc]


# -- JSON lines -------------------------------------------------------------------------------------------------------


def _objects(lines: Iterable[str], first: int) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    for at, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield at, value if isinstance(value, dict) and "\0" not in line and UNDEFINED not in line else None


def _lines(uri: str, encoding: str, span: Span) -> Iterator[str]:
    for block in whole_lines(uri, encoding, span, newline="\n"):
        yield from io.StringIO(block, newline="\n")


def jsonl_names(uri: str, encoding: str, size: int) -> list[str] | None:
    """Returns the keys of the first objects; None when there is not one line with text."""
    sample = list(islice(_objects(_lines(uri, encoding, Span(0, size, 1)), 1), SAMPLE))
    return list(dict.fromkeys(key for _, value in sample if value for key in value)) if sample else None


def jsonl_rows(uri: str, encoding: str, span: Span, columns: Columns) -> Iterator[Row]:
    """Reads JSON lines."""
    for line, value in _objects(_lines(uri, encoding, span), span.line):
        yield Row(line, readable=False) if value is None else _mapped(line, value.get, columns)


# -- Parquet ----------------------------------------------------------------------------------------------------------


def _parquet(uri: str) -> tuple[pq.ParquetFile, list[str]]:
    """Opens a Parquet file; returns it and its columns."""
    try:
        file = pq.ParquetFile(open_random(uri), buffer_size=1 << 20, pre_buffer=False)  # page by page
        return file, list(file.schema_arrow.names)
    except BROKEN as error:
        raise InputError(f"{uri} is not a whole Parquet file: {error}") from error


def parquet_names(uri: str) -> list[str]:
    """Returns the columns of a Parquet file."""
    file, names = _parquet(uri)
    file.close()
    return names


def _cells(column: pa.Array) -> list[Any]:
    """Returns a column's values, `UNREADABLE` for each that Python has no value for: the year 300000, broken UTF-8."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    try:
        return list(column.to_pylist())
    except (ArithmeticError, ValueError, LookupError):
        return [_cell(scalar) for scalar in column]


def _cell(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ArithmeticError, ValueError, LookupError):
        return UNREADABLE


def _row_bytes(group: Any) -> int:
    return max(1, int(group.total_byte_size) // max(1, int(group.num_rows)))


def parquet_spans(uri: str, rows: int) -> list[Span]:
    """Returns the row groups of a file as ranges of at least `rows` rows, except the last."""
    spans: list[Span] = []
    start, line, waiting = 0, 1, 0
    file, _ = _parquet(uri)
    with file:
        groups = file.num_row_groups
        for group in range(groups):
            waiting += file.metadata.row_group(group).num_rows
            if waiting >= rows or (group + 1 == groups and waiting):
                spans.append(Span(start, group + 1, line))
                start, line, waiting = group + 1, line + waiting, 0
    return spans


def parquet_rows(uri: str, span: Span | None, columns: Columns) -> Iterator[Row]:
    """Reads a Parquet file by batches of its row groups; a row's line is its number."""
    wanted = columns.mapped
    number = span.line - 1 if span else 0
    file, _ = _parquet(uri)
    with file:
        groups = range(span.start, span.end) if span else range(file.num_row_groups)
        wide = max((_row_bytes(file.metadata.row_group(group)) for group in groups), default=1)
        size = max(1, min(BATCH, BATCH_BYTES // wide))
        # Threads would decode whole columns of a row group ahead: a file of one row group would be in memory at once.
        batches = file.iter_batches(size, row_groups=list(groups), columns=list(wanted), use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except BROKEN as error:
                raise InputError(f"{uri}: cannot be read beyond row {number}: {error}") from error
            if batch is None:
                return
            cells = {name: _cells(batch[name]) for name in wanted}
            for at in range(batch.num_rows):
                number += 1
                row = {name: column[at] for name, column in cells.items()}
                whole = all(value is not UNREADABLE for name, value in row.items() if name != columns.created_at)
                yield _mapped(number, row.get, columns) if whole else Row(number, readable=False)
