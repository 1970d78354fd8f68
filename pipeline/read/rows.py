"""What every reader yields, and how it becomes WORKING tables.

Output contract: `collect` turns a stream of `Row` into tables of the WORKING schema with at most `limit` rows, one row
out for every row in, in order. A row that could not be read, lacks its question or (kind qa) its answer is marked with
stage `read` and reason `unreadable`, `empty_prompt` or `empty_response`; an unreadable one carries no text.
This module does not read files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pyarrow as pa

from pipeline import schema

RESOLVED = frozenset({"solved", "closed", "resolved", "gelöst", "geschlossen", "erledigt"})
NOBODY = frozenset({"", "-", "--", "none", "null", "n/a", "no agent", "unassigned", "unknown", "kein agent"})
DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,?\s+(\d{1,2}):(\d{2})(?::(\d{2}))?)?(?: Uhr)?")
UNDEFINED = "\udcff"  # stands for bytes that the file's encoding does not define


@dataclass(slots=True)
class Row:
    """One row of a file. `line` is where it starts (1-based); `readable` False: nothing else of it is known."""

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


def parse_time(text: str) -> datetime | None:
    """Returns a time in UTC, None when the text is not one. Reads ISO 8601, `31.12.2026 23:59` and mail dates.

    A time without zone is taken as UTC. `01/02/2026` is not read: its first number is a day or a month.
    """
    text = text.strip()
    if not text:
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"\s+(?=[+-]\d{2}:?\d{2}$)", "", text.removesuffix(" UTC")))
    except ValueError:
        if match := DOTTED.fullmatch(text):
            day, month, year, hour, minute, second = (int(part or 0) for part in match.groups())
            try:
                found = datetime(year, month, day, hour, minute, second)
            except ValueError:
                return None
        else:
            try:
                found = parsedate_to_datetime(text)
            except (ValueError, TypeError):
                return None
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        return None


def people(names: Iterable[str], emails: Iterable[str], phones: Iterable[str]) -> tuple[tuple[str, str], ...]:
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


def _working(row: Row, source: str, path: str) -> dict[str, object]:
    place = f"{path}:{row.line}"
    readable = row.readable and all(_sound(text) for text in (row.prompt, row.response, row.source_id, row.label or ""))
    if not readable:
        row = Row(row.line, kind=row.kind)
        key, reason = schema.content_id("unreadable", path, str(row.line)), "unreadable"
    else:
        key, reason = schema.content_id(row.kind, row.prompt, row.response), ""
        if not row.prompt.strip():
            reason = "empty_prompt"
        elif not row.response.strip():
            reason = "empty_response"
    return {
        "id": key,
        "source": source,
        "source_id": row.source_id or place,
        "kind": row.kind,
        "prompt": row.prompt,
        "response": row.response,
        "label": row.label or None,
        "created_at": row.created_at,
        "origin": "real",
        "path": path,
        "line": row.line,
        "resolved": row.resolved,
        "entities": [{"type": kind, "text": text} for kind, text in row.entities if _sound(text)],
        "pii": [],
        "stage": "read" if reason else None,
        "reason": reason or None,
    }


def collect(rows: Iterator[Row], source: str, path: str, limit: int) -> Iterator[pa.Table]:
    """Yields WORKING tables of `limit` rows, the last one shorter; none when there are no rows."""
    waiting: list[dict[str, object]] = []
    for row in rows:
        waiting.append(_working(row, source, path))
        if len(waiting) == limit:
            yield pa.Table.from_pylist(waiting, schema=schema.WORKING)
            waiting = []
    if waiting:
        yield pa.Table.from_pylist(waiting, schema=schema.WORKING)
