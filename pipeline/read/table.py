"""Tables with a column map, whatever they are written in.

Output contract: `check` raises `InputError` when a map names columns that a table has not, `check_values` when one
holds lists or objects; the row functions yield a `Row` per record, streaming, its text cleaned unless the map says
otherwise. A number or a date becomes `str(value)`, none and NaN the empty text; a row with a list or an object where a
text belongs is damaged.
This module does not decide which map belongs to which file, and opens none.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.config import Columns
from pipeline.errors import InputError
from pipeline.read.conversations.document import ShapeError, decoded, record
from pipeline.read.helpdesks.translations import RESOLVED
from pipeline.read.rows import Row, parse_time, people
from pipeline.read.tables.csvfile import Record
from pipeline.read.tables.json_lines import Object
from pipeline.read.text import Cleaned, as_it_is, clean, field_text, joined, summed
from pipeline.read.text.numbers import number

NAN = frozenset({"nan", "NaN"})  # as a cell of its own
MESSAGES = "{match: FILE, messages: {path: LIST OF MESSAGES, body: TEXT, author: ROLE, public: FLAG}}"


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


def _nested(value: Any) -> bool:
    """Tells whether a value is a list or an object, or a table's cell that holds one as JSON."""
    if not isinstance(value, str):
        return isinstance(value, (list, tuple, dict))
    if not value.startswith(("[{", "{", "['", '["')):
        return False
    try:
        return isinstance(decoded(value), (list, dict))
    except ShapeError:
        return False


def check_values(columns: Sequence[str], sample: Sequence[Mapping[str, Any]], path: str) -> None:
    """Raises `InputError` when a column of texts holds lists or objects in the first records of a file: one in ten of
    its values or, in a table's cells, where a text may look like one, most of them."""
    for name in columns:
        values = [value for value in (record.get(name) for record in sample) if value not in (None, "")]
        found = [value for value in values if _nested(value)]
        if len(found) * (2 if all(isinstance(value, str) for value in found) else 10) >= max(1, len(values)):
            what = "objects" if str(found[0]).lstrip().startswith("{") else "lists"
            raise InputError(
                f"{path}: the column `{name}` holds {what}, not texts. If they are the messages of a conversation, say "
                f"so in curate.read.tables: {MESSAGES.replace('LIST OF MESSAGES', name)}; or name a column of texts"
            )


def named(records: Iterable[Record], names: Sequence[str]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Returns records with the names of their columns."""
    return ((line, None if fields is None else record(names, fields, folds=False)) for line, fields in records)


def _text(value: Any) -> str:
    """Returns a value as text. NaN is how Python writes that there is none; a number that a tool has made a float
    because some cells are empty keeps its digits."""
    if isinstance(value, (list, tuple, dict)):
        raise ShapeError("a list or an object where a text belongs")
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
    try:
        return _row(line, get, columns)
    except ShapeError:
        return Row(line, readable=False)


def _row(line: int, get: Callable[[str], Any], columns: Columns) -> Row:

    def text(name: str | None) -> str:
        return _text(get(name)) if name else ""

    def short(name: str | None) -> str:
        return field_text(text(name))

    created = get(columns.created_at) if columns.created_at else None
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


def object_rows(objects: Iterable[Object], columns: Columns) -> Iterator[Row]:
    """Makes a row of every JSON object."""
    for line, value in objects:
        yield Row(line, readable=False) if value is None else _mapped(line, value.get, columns)


def records_of(objects: Iterable[Object], names: Sequence[str], used: Collection[int]) -> Iterator[Record]:
    """Returns JSON objects as records of a table with these columns; only those at the positions `used` are filled."""
    for line, value in objects:
        try:
            found = value and [_text(value.get(name)) if at in used else "" for at, name in enumerate(names)]
        except ShapeError:
            found = None
        yield line, found or None
