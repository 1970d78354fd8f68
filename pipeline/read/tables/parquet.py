"""Parquet files.

Output contract: `names` gives the columns, `spans` the row groups as ranges, `objects` every row with its number
(1-based) as a mapping, None where a value is none that Python knows. Memory: a few rows, and a page of each column.
This module does not know what columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.read.inputs.open_inputs import Span, open_random

UNREADABLE = object()
BROKEN = (
    pa.ArrowException,
    OSError,
    ValueError,
)  # what pyarrow raises for a damaged file; names that are not UTF-8, too
BATCH = 1_000  # rows of a Parquet file in memory at once
BATCH_BYTES = 4 << 20  # or fewer, if that is what they take on average


def _parquet(uri: str) -> tuple[pq.ParquetFile, list[str]]:
    """Opens a Parquet file; returns it and its columns."""
    try:
        file = pq.ParquetFile(open_random(uri), buffer_size=1 << 20, pre_buffer=False)  # page by page
        return file, list(file.schema_arrow.names)
    except BROKEN as error:
        raise InputError(f"{uri} is not a whole Parquet file: {error}") from error


def names(uri: str) -> list[str]:
    """Returns the columns of a Parquet file."""
    file, columns = _parquet(uri)
    file.close(force=True)
    return columns


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


def spans(uri: str, rows: int) -> list[Span]:
    """Returns the row groups of a file as ranges of at least `rows` rows, except the last."""
    found: list[Span] = []
    start, line, waiting = 0, 1, 0
    file, _ = _parquet(uri)
    with file:
        groups = file.num_row_groups
        for group in range(groups):
            waiting += file.metadata.row_group(group).num_rows
            if waiting >= rows or (group + 1 == groups and waiting):
                found.append(Span(start, group + 1, line))
                start, line, waiting = group + 1, line + waiting, 0
    return found


def objects(
    uri: str, span: Span | None, wanted: Sequence[str], optional: str | None = None
) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """Yields (number, values of the columns `wanted`) by batches of row groups; a value of the column `optional` that
    cannot be read is missing."""
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
                if optional is not None and row[optional] is UNREADABLE:
                    row[optional] = None
                yield number, None if UNREADABLE in row.values() else row
