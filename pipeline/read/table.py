"""Tables with a column map: CSV and TSV, JSON lines, Parquet.

Output contract: `column_names` gives what a file's columns are called, `check` raises `InputError` when the map names
others; the row functions yield a `Row` per record, streaming, text as it stands (no clean-up). A value that is not
text becomes `str(value)`; none becomes the empty text. A line that is not a JSON object is unreadable.
This module does not decide which map belongs to which file.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Columns
from pipeline.errors import InputError
from pipeline.read.csvfile import records
from pipeline.read.places import open_lines, open_random
from pipeline.read.rows import RESOLVED, UNDEFINED, Row, parse_time, people

SAMPLE = 1_000  # JSON lines whose keys count as the file's columns
BATCH = 1_000  # rows of a Parquet file in memory at once


def listing(names: Sequence[str], most: int = 40) -> str:
    """Returns column names for a message, long ones and long lists cut short."""
    shown = ", ".join(f"`{name[:40]}`" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def check(columns: Columns, names: Sequence[str], path: str) -> None:
    """Raises `InputError` when a mapped column is not in the file, or is there twice."""
    single = (columns.prompt, columns.response, columns.source_id, columns.label, columns.created_at, columns.status)
    wanted = [name for name in single if name] + [*columns.names, *columns.emails, *columns.phones]
    missing = [name for name in dict.fromkeys(wanted) if name not in names]
    if missing:
        hints = []
        for name in missing:
            close = difflib.get_close_matches(name, names, n=1)
            hints.append(f"`{name}`" + (f" (did you mean `{close[0]}`?)" if close else ""))
        raise InputError(f"{path} has no column {', '.join(hints)}; its columns are {listing(names)}")
    if twice := [name for name in dict.fromkeys(wanted) if names.count(name) > 1]:
        raise InputError(f"{path} has two columns called {listing(twice)}; rename the one that is not meant")


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


def _mapped(line: int, get: Callable[[str], Any], columns: Columns) -> Row:
    """Makes a row; `get` gives a column's value by its name."""

    def text(name: str | None) -> str:
        return _text(get(name)) if name else ""

    created = get(columns.created_at) if columns.created_at else None
    status = text(columns.status).strip().casefold()
    known = (columns.names, columns.emails, columns.phones)
    return Row(
        line,
        text(columns.prompt).strip(),
        text(columns.response).strip(),
        source_id=text(columns.source_id).strip(),
        label=text(columns.label).strip() or None,
        created_at=parse_time(created.isoformat() if isinstance(created, datetime) else _text(created)),
        resolved=status in RESOLVED if columns.status else None,
        entities=people(*([_text(get(name)) for name in names] for names in known)),
    )


def csv_rows(uri: str, encoding: str, header: Sequence[str], delimiter: str, columns: Columns) -> Iterator[Row]:
    """Reads a CSV or TSV."""
    at = {name: position for position, name in enumerate(header)}
    with open_lines(uri, encoding) as lines:
        found = records(lines, delimiter, len(header))
        next(found)  # the header
        for line, fields in found:
            if fields is None:
                yield Row(line, readable=False)
            else:
                yield _mapped(line, lambda name, fields=fields: fields[at[name]], columns)  # type: ignore[misc]


# -- JSON lines -------------------------------------------------------------------------------------------------------


def _objects(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield number, value if isinstance(value, dict) and "\0" not in line and UNDEFINED not in line else None


def jsonl_names(uri: str, encoding: str) -> list[str] | None:
    """Returns the keys of the first objects; None when there is not one line with text."""
    with open_lines(uri, encoding, newline="\n") as lines:
        sample = list(islice(_objects(lines), SAMPLE))
    return list(dict.fromkeys(key for _, value in sample if value for key in value)) if sample else None


def jsonl_rows(uri: str, encoding: str, columns: Columns) -> Iterator[Row]:
    """Reads JSON lines."""
    with open_lines(uri, encoding, newline="\n") as lines:
        for line, value in _objects(lines):
            yield Row(line, readable=False) if value is None else _mapped(line, value.get, columns)


# -- Parquet ----------------------------------------------------------------------------------------------------------


def _parquet(uri: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(open_random(uri))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{uri} is not a whole Parquet file: {error}") from error


def parquet_names(uri: str) -> list[str]:
    """Returns the columns of a Parquet file."""
    with _parquet(uri) as file:
        return list(file.schema_arrow.names)


def parquet_rows(uri: str, columns: Columns) -> Iterator[Row]:
    """Reads a Parquet file by batches of its row groups; a row's line is its number."""
    single = (columns.prompt, columns.response, columns.source_id, columns.label, columns.created_at, columns.status)
    wanted = dict.fromkeys([name for name in single if name] + [*columns.names, *columns.emails, *columns.phones])
    number = 0
    with _parquet(uri) as file:
        batches = file.iter_batches(batch_size=BATCH, columns=list(wanted))
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{uri}: cannot be read beyond row {number}: {error}") from error
            if batch is None:
                return
            for value in batch.to_pylist():
                number += 1
                yield _mapped(number, value.get, columns)
