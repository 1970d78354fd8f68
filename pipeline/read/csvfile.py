"""CSV as it really comes: any delimiter among comma, semicolon and tab, quoted newlines, broken rows.

Output contract: `read_header` gives the column names and the delimiter; `records` gives every record exactly once with
the physical line it starts on, as a list of fields or, where it is damaged, as None. Damaged is a record with too few
or too many fields, a NUL, a byte the encoding does not define, text after a closing quote, a field above `MAX_FIELD`
characters, or a quote never closed: that one reaches up to the line on which the mistake shows, at most to the end.
Blank lines are not records. Memory: one record.
This module does not know what columns mean.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.read.places import open_lines
from pipeline.read.rows import UNDEFINED

DELIMITERS = ",;\t"
MAX_FIELD = 16 << 20
HEAD = 1 << 20  # characters in which the header must end


@dataclass(frozen=True)
class Header:
    names: tuple[str, ...]
    delimiter: str


class _Lines:
    """Physical lines on their way into `csv.reader`: counted, watched for NUL and undefined bytes, one can go back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._again: str | None = None
        self._last = ""
        self.number = 0
        self.spoilt = False
        self.ended = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._again is None:
            try:
                line = next(self._lines)
            except StopIteration:
                self.ended = True
                raise
        else:
            line, self._again = self._again, None
        self._last = line
        self.number += 1
        if "\0" in line or UNDEFINED in line:
            self.spoilt = True
        return line

    def back(self) -> None:
        """Hands out the last line once more."""
        self._again = self._last
        self.number -= 1


def read_header(uri: str, encoding: str) -> Header | None:
    """Returns the first record that is not blank, None for a file without any; the delimiter with most columns wins.

    Raises `InputError` for a first record that no delimiter makes sense of.
    """
    with open_lines(uri, encoding) as lines:
        head = lines.read(HEAD)
    best: Header | None = None
    for delimiter in DELIMITERS:
        try:
            rows = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, strict=True)
            names = next((tuple(name.strip() for name in row) for row in rows if row), ())
        except csv.Error:
            continue
        if names and (best is None or len(names) > len(best.names)):
            best = Header(names, delimiter)
    if best is None and head.strip():
        raise InputError(f"{uri}: the first line is not a CSV header (a quote in it is never closed)")
    if best is not None and any("\0" in name for name in best.names):
        raise InputError(f"{uri}: NUL bytes in the header. If it is UTF-16, save it with a byte order mark or as UTF-8")
    return best


def records(lines: Iterable[str], delimiter: str, width: int) -> Iterator[tuple[int, list[str] | None]]:
    """Yields (line, fields) for every record of `lines`, the header included; fields None where it is damaged.

    A quote closed where no field ends was never closed in its own record: the record before that line is the damaged
    one, and the line is read again as the start of a new record.
    """
    csv.field_size_limit(MAX_FIELD)
    source = _Lines(lines)
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while not source.ended:
        start = source.number + 1
        try:
            for fields in reader:
                if fields:
                    yield start, None if source.spoilt or len(fields) != width else fields
                source.spoilt = False
                start = source.number + 1
        except csv.Error:
            if not source.ended and source.number > start:
                source.back()
            source.spoilt = False
            yield start, None
