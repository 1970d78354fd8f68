"""Tables with a column map, whatever they are written in.

Output contract: `check` raises `InputError` when a map names columns that a table has not; the row functions yield a
`Row` per record, streaming, text as it stands (no clean-up). A value that is not text becomes `str(value)`; none
becomes the empty text.
This module does not decide which map belongs to which file, and opens none.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from pipeline.config import Columns
from pipeline.errors import InputError
from pipeline.read.helpdesks.translations import RESOLVED
from pipeline.read.rows import Row, parse_time, people
from pipeline.read.tables.csvfile import Record
from pipeline.read.tables.json_lines import Object


def listing(names: Sequence[str], most: int = 40) -> str:
    """Returns column names for a message, long ones and long lists cut short."""
    shown = ", ".join(f"`{name[:40]}`" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def mapped(columns: Columns) -> list[str]:
    """Returns the names of the columns that a map names."""
    single = (columns.prompt, columns.response, columns.source_id, columns.label, columns.created_at, columns.status)
    return [*dict.fromkeys([name for name in single if name] + [*columns.names, *columns.emails, *columns.phones])]


def check(columns: Columns, names: Sequence[str], path: str) -> None:
    """Raises `InputError` when a mapped column is not in the file, or is there twice."""
    wanted = mapped(columns)
    missing = [name for name in wanted if name not in names]
    if missing:
        hints = []
        for name in missing:
            close = difflib.get_close_matches(name, names, n=1)
            hints.append(f"`{name}`" + (f" (did you mean `{close[0]}`?)" if close else ""))
        raise InputError(f"{path} has no column {', '.join(hints)}; its columns are {listing(names)}")
    if twice := [name for name in wanted if names.count(name) > 1]:
        raise InputError(f"{path} has two columns called {listing(twice)}; rename the one that is not meant")


def _text(value: Any) -> str:
    if isinstance(value, bytes):  # Parquet's text without a sign that it is text
        return value.decode("utf-8", "undefined")
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
        entities=people(*(tuple([_text(get(name)) for name in names]) for names in known)),
    )


def csv_rows(records: Iterable[Record], header: Sequence[str], columns: Columns) -> Iterator[Row]:
    """Makes a row of every record of a CSV or TSV."""
    at = {name: position for position, name in enumerate(header)}
    for line, fields in records:
        if fields is None:
            yield Row(line, readable=False)
        else:
            yield _mapped(line, lambda name, fields=fields: fields[at[name]], columns)  # type: ignore[misc]


def object_rows(objects: Iterable[Object], columns: Columns) -> Iterator[Row]:
    """Makes a row of every JSON object."""
    for line, value in objects:
        yield Row(line, readable=False) if value is None else _mapped(line, value.get, columns)


def records_of(objects: Iterable[Object], names: Sequence[str]) -> Iterator[Record]:
    """Returns JSON objects as records of a table with these columns."""
    for line, value in objects:
        yield line, None if value is None else [_text(value.get(name)) for name in names]
