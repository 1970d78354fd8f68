"""What every reader yields, and how it becomes WORKING tables.

Output contract: `collect` turns a stream of `Row` into tables of the WORKING schema with at most `limit` rows, one row
out for every row in, in order. A row that could not be read, lacks its question or (kind qa) its answer is marked with
stage `read` and reason `unreadable`, `empty_prompt` or `empty_response`; an unreadable one carries no text.
A conversation's later turns count in pairs, a customer's and the agent's: a reader leaves out what nobody answered and
what is empty.
This module does not read files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa

from pipeline import schema
from pipeline.errors import IntegrityError

NOBODY = frozenset({"", "-", "--", "none", "null", "n/a", "no agent", "unassigned", "unknown", "kein agent"})
DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,?\s+(\d{1,2}):(\d{2})(?::(\d{2}))?)?(?: Uhr)?")
LONGEST_TIME = 100  # characters: a mail's date may name its zone in words
PART_ROWS = 2_000  # of a table: seconds of work for every stage, and a million rows are 500 files
PART_TEXT = 16 << 20  # characters after which a table is full whatever its number of rows


@dataclass(slots=True)
class Row:
    """One row of a file. `line` is where it starts (1-based); `readable` False: nothing else of it is known. `refused`:
    why its reader does not want it used, where that is more than a missing text."""

    line: int
    prompt: str = ""
    response: str = ""
    kind: str = "qa"
    source_id: str = ""
    label: str | None = None
    created_at: datetime | None = None
    resolved: bool | None = None
    entities: tuple[tuple[str, str], ...] = ()
    readable: bool = True
    refused: str = ""
    path: str = ""  # of the file that the row is from, where several are read together
    characters: int | None = None  # of its texts as they were read; None: as many as it has, nothing was removed
    removed: Mapping[str, int] = field(default_factory=dict)  # of them, by kind (`text.clean.KINDS`)
    later: tuple[str, ...] = ()  # the turns after the answer: customer, agent, customer, agent ...; none is empty


def _parse_other(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(re.sub(r"\s+(?=[+-]\d{2}:?\d{2}$)", "", text.removesuffix(" UTC")))
    except ValueError:
        pass
    try:
        if match := DOTTED.fullmatch(text):
            day, month, year, hour, minute, second = (int(part or 0) for part in match.groups())
            return datetime(year, month, day, hour, minute, second)
        return parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None


def parse_time(text: str) -> datetime | None:
    """Returns a time in UTC, None when the text is not one. Reads ISO 8601, `31.12.2026 23:59` and mail dates.

    A time without zone is taken as UTC. `01/02/2026` is not read: its first number is a day or a month.
    """
    text = text.strip()
    if not 0 < len(text) <= LONGEST_TIME:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        other = _parse_other(text)
        if other is None:
            return None
        found = other
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        return None


@lru_cache(maxsize=1 << 12)  # agents and regular customers come again and again
def people(names: tuple[str, ...], emails: tuple[str, ...], phones: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Returns (type, text) for each value; a name with an @ is an e-mail address; placeholders are left out."""
    found = []
    for kind, values in (("NAME", names), ("EMAIL", emails), ("PHONE", phones)):
        for value in values:
            value = value.strip()
            if value.casefold() not in NOBODY:
                found.append(("EMAIL" if kind == "NAME" and "@" in value else kind, value))
    return tuple(dict.fromkeys(found))


def _sound(text: str) -> bool:
    """Tells whether the text can be stored: no NUL, no half of a surrogate pair, no undefined byte."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(row: Row) -> str:
    """Returns why a readable row is not used, "" where it is."""
    if row.refused:
        return row.refused
    if len(row.later) % 2:
        raise ValueError(f"line {row.line}: later turns come in pairs, a customer's and the agent's")
    for asked, answered in zip((row.prompt, *row.later[0::2]), (row.response, *row.later[1::2]), strict=True):
        if not asked or asked.isspace():
            return "empty_prompt"
        if not answered or answered.isspace():
            return "empty_response"
    return ""


def _entities(rows: Sequence[Row]) -> pa.Array:
    found = [[entity for entity in row.entities if _sound(entity[1])] for row in rows]
    kinds = pa.array([kind for entities in found for kind, _ in entities], pa.string())
    texts = pa.array([text for entities in found for _, text in entities], pa.string())
    offsets = pa.array([0, *accumulate(map(len, found))], pa.int32())
    values = pa.StructArray.from_arrays([kinds, texts], fields=list(schema.ENTITY))
    return pa.ListArray.from_arrays(offsets, values, type=schema.WORKING.field("entities").type)


def _read_characters(row: Row, path: str) -> int:
    """Returns how many characters a row was read from; raises `IntegrityError` unless each is kept or counted."""
    accounted = len(row.prompt) + len(row.response) + sum(map(len, row.later)) + sum(row.removed.values())
    if row.characters not in (None, accounted):
        raise IntegrityError(
            f"{row.path or path}:{row.line}: {row.characters:,} characters read, {accounted:,} kept or removed"
        )
    return accounted


def _removed(rows: Sequence[Row]) -> pa.Array:
    kinds = pa.array([kind for row in rows for kind in row.removed], pa.string())
    counts = pa.array([count for row in rows for count in row.removed.values()], pa.int64())
    offsets = pa.array([0, *accumulate(len(row.removed) for row in rows)], pa.int32())
    values = pa.StructArray.from_arrays([kinds, counts], fields=list(schema.REMOVED))
    return pa.ListArray.from_arrays(offsets, values, type=schema.WORKING.field("removed").type)


def _table(rows: list[Row], source: str, path: str) -> pa.Table:
    """Returns rows as a WORKING table, column by column."""
    reasons = []
    for at, row in enumerate(rows):
        if row.readable and _sound(f"{row.prompt}{row.response}{''.join(row.later)}{row.source_id}{row.label or ''}"):
            reasons.append(_refused(row))
        else:
            rows[at] = Row(row.line, kind=row.kind, path=row.path)
            reasons.append("unreadable")
    paths = [row.path or path for row in rows]
    ids = [
        schema.content_id("unreadable", own, str(row.line))
        if reason == "unreadable"
        else schema.content_id(row.kind, row.prompt, row.response, row.later)
        for row, reason, own in zip(rows, reasons, paths, strict=True)
    ]
    count = len(rows)
    columns: dict[str, Any] = {
        "id": ids,
        "source": pa.repeat(source, count),
        "source_id": [row.source_id or f"{own}:{row.line}" for row, own in zip(rows, paths, strict=True)],
        "kind": [row.kind for row in rows],
        "prompt": [row.prompt for row in rows],
        "response": [row.response for row in rows],
        "later": [row.later for row in rows],
        "label": [row.label or None for row in rows],
        "created_at": [row.created_at for row in rows],
        "origin": pa.repeat("real", count),
        "path": paths,
        "line": [row.line for row in rows],
        "resolved": [row.resolved for row in rows],
        "entities": _entities(rows),
        "pii": pa.ListArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count + 1), pa.array([], pa.string())),
        "characters": [_read_characters(row, path) for row in rows],
        "removed": _removed(rows),
        "stage": ["read" if reason else None for reason in reasons],
        "reason": [reason or None for reason in reasons],
    }
    arrays = []
    for column in schema.WORKING:
        values = columns.get(column.name)
        if values is None:
            values = pa.nulls(count, column.type)
        arrays.append(values if isinstance(values, pa.Array) else pa.array(values, column.type))
    return pa.table(arrays, schema.WORKING)


def collect(rows: Iterator[Row], source: str, path: str, limit: int) -> Iterator[pa.Table]:
    """Yields WORKING tables of `limit` rows, fewer where their text is long, and in the last; none without rows."""
    waiting: list[Row] = []
    size = 0
    for row in rows:
        waiting.append(row)
        size += len(row.prompt) + len(row.response) + sum(map(len, row.later))
        if len(waiting) == limit or size > PART_TEXT:
            yield _table(waiting, source, path)
            waiting, size = [], 0
    if waiting:
        yield _table(waiting, source, path)
