"""CSV as it really comes: any delimiter among comma, semicolon, tab and bar, title lines, quoted newlines, broken rows.

Output contract: `read_header` gives the column names and the delimiter; `records` gives every record exactly once with
the physical line it starts on, as a list of fields or, where it is damaged, as None. Every line that is not blank
belongs to exactly one record. Damaged is a record with too few or too many fields, a NUL, a byte the encoding does not
define, text after a closing quote, or a quote never closed. What a quote never closed has swallowed is given back where
the lines prove to be rows of their own; otherwise the damage reaches up to the line on which it shows, at most
`MAX_RECORD` characters. Blank lines are not records. Memory: one record and one block of lines.
This module does not know what columns mean.
"""

from __future__ import annotations

import csv
import io
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from pipeline.errors import InputError
from pipeline.read.inputs.open_inputs import MAX_LINE, UNDEFINED, Span, open_text, whole_lines
from pipeline.read.tables.header import SAMPLE, header_at

DELIMITERS = ",;\t|"
MAX_RECORD = MAX_LINE  # characters of all lines of a record, and so of a field
HEAD = 1 << 20  # characters in which the header must end
EXCEL = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # the first line of some Excel exports names the delimiter
PROOF = 8  # delimiters that swallowed lines must have at the right places, together, to be taken for rows

Record = tuple[int, list[str] | None]


@dataclass(frozen=True)
class Header:
    names: tuple[str, ...]
    delimiter: str
    line: int  # on which the header's record ends


def _first_rows(lines: Sequence[str], delimiter: str) -> tuple[list[list[str]], list[int]]:
    """Returns the first records that are not blank, up to a damaged one, and the lines (1-based) on which they end."""
    rows: list[list[str]] = []
    ends: list[int] = []
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                rows.append(row)
                ends.append(reader.line_num)
            if len(rows) == SAMPLE:
                break
    except csv.Error:
        pass
    return rows, ends


def read_header(uri: str, encoding: str) -> Header | None:
    """Returns the column names, None for a file without a record: the first record, or one below title lines.

    The delimiter that makes most columns in most records wins. Raises `InputError` for a first record that no delimiter
    makes sense of.
    """
    csv.field_size_limit(MAX_RECORD)
    with open_text(uri, encoding) as text:
        head = text.read(HEAD)
    lines = io.StringIO(head, newline="").readlines()
    skip = next((at for at, line in enumerate(lines) if line.strip("\r\n")), 0)
    delimiters = DELIMITERS
    if lines and (said := EXCEL.fullmatch(lines[skip])):
        skip, delimiters = skip + 1, said[1]
    best: Header | None = None
    most = -1.0
    for delimiter in delimiters:
        rows, ends = _first_rows(lines[skip:], delimiter)
        if not rows:
            continue
        at = header_at(rows)
        names = tuple(name.strip() for name in rows[at])
        share = sum(len(row) == len(names) for row in rows) / len(rows)
        if (columns := (len(names) - 1) * share) > most:
            best, most = Header(names, delimiter, skip + ends[at]), columns
    if best is None and "".join(lines[skip:]).strip():
        raise InputError(f"{uri}: the first line is not a CSV header (a quote in it is never closed)")
    if best is not None and any("\0" in name for name in best.names):
        raise InputError(f"{uri}: NUL bytes in the header: it is damaged, or no text")
    return best


class _Source:
    """Physical lines on their way into `csv.reader`, which takes them without a detour through Python code.

    Keeps the lines from the start of the record that is being read, so that they can be handed out once more.
    """

    def __init__(self, blocks: Iterator[str], line: int) -> None:
        self._blocks = blocks
        self._kept: list[tuple[int, list[str], int]] = []  # number of the first line, lines, characters
        self._next = line
        self._spoilt: list[int] = []  # lines with a NUL or an undefined byte
        self.start = line  # of the record that is being read; kept up to date by the one who reads
        self.cut = 0  # start of the record after whose length no more lines came, 0: none
        self.ended = False

    def _fetch(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            self.ended = True
            return False
        lines = io.StringIO(block, newline="").readlines()
        self._kept = [kept for kept in self._kept if kept[0] + len(kept[1]) > self.start]
        self._spoilt = self._spoilt[bisect_left(self._spoilt, self.start) :]
        if "\0" in block or UNDEFINED in block:
            self._spoilt += [self._next + at for at, line in enumerate(lines) if "\0" in line or UNDEFINED in line]
        self._kept.append((self._next, lines, len(block)))
        self._next += len(lines)
        return True

    def feed(self, number: int) -> Iterator[Iterable[str]]:
        """Yields the lines from `number` on, up to the end or to where the record being read has become too long."""
        self.cut = 0
        while number < self._next or self._fetch():
            first, lines, size = next(kept for kept in reversed(self._kept) if kept[0] <= number)
            at, stop = number - first, len(lines)
            room = MAX_RECORD - sum(map(len, self.lines(self.start, number - 1)))
            if size > room:
                sizes = accumulate(map(len, lines[at:]))
                over = next((index for index, total in enumerate(sizes) if total > room), None)
                if over is not None:
                    self.cut, stop = self.start, at + over + 1
            yield map(lines.__getitem__, range(at, stop))
            if self.cut:
                return
            number = first + stop

    def lines(self, start: int, last: int) -> list[str]:
        """Returns lines `start` to `last`, both included, of those that are kept."""
        return [
            line for first, lines, _ in self._kept for line in lines[max(0, start - first) : max(0, last + 1 - first)]
        ]

    def spoilt(self, start: int, last: int) -> bool:
        """Tells whether a NUL or an undefined byte is in one of lines `start` to `last`."""
        at = bisect_left(self._spoilt, start)
        return at < len(self._spoilt) and self._spoilt[at] <= last


def _alone(line: str, delimiter: str, width: int) -> list[str] | None:
    """Returns the fields of a line that is a whole record by itself."""
    if "\0" in line or UNDEFINED in line:
        return None
    try:
        fields = next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None
    return fields if len(fields) == width else None


def _damaged(start: int, lines: Sequence[str], delimiter: str, width: int) -> Iterator[Record]:
    """Yields what a damaged record is: itself alone or, where a quote has swallowed rows, itself and each of those.

    Prose has a comma in many a line: only lines that nearly all have the right number of fields, and delimiters enough
    for that not to be chance, are rows.
    """
    yield start, None
    rest = [(start + at, line) for at, line in enumerate(lines[1:], 1) if line.strip("\r\n")]
    found = [(number, _alone(line, delimiter, width)) for number, line in rest] if width > 1 else []
    good = sum(fields is not None for _, fields in found)
    if good * (width - 1) >= PROOF and good * 4 >= len(found) * 3:
        yield from found


def _opens(line: str, delimiter: str) -> bool:
    """Tells whether the first quote of a line stands where a field begins."""
    at = line.find('"')
    return at == 0 or line[at - 1] == delimiter


def _parse(source: _Source, delimiter: str, width: int) -> Iterator[tuple[int, int, list[str] | None]]:
    """Yields (line, line after which to ask whether rows were swallowed, fields) for each record `csv.reader` sees.

    A quote closed where no field ends was never closed in its own record, if the line it is on can begin with it: then
    the record before that line is the damaged one, and the line is read as the start of a new record.
    """
    start = source.start
    while True:
        reader = csv.reader(chain.from_iterable(source.feed(start)), delimiter=delimiter, strict=True)
        before = last = start - 1
        try:
            for fields in reader:
                last = before + reader.line_num
                if len(fields) != width and fields:
                    yield start, last, None
                elif fields and source.spoilt(start, last):
                    yield start, start, None
                elif fields:
                    yield start, last, fields
                source.start = start = last + 1
            if source.ended:
                return
        except csv.Error:
            if source.cut in (0, start):  # else a later record met the end that was meant for one before it
                last = before + reader.line_num
                if (
                    not source.cut
                    and not source.ended
                    and last > start
                    and _opens(source.lines(last, last)[0], delimiter)
                ):
                    last -= 1
                yield start, last, None
                source.start = start = last + 1


def records(blocks: Iterable[str], delimiter: str, width: int, line: int = 1) -> Iterator[Record]:
    """Yields (line, fields) for every record of a text, the header included; fields None where it is damaged.

    `blocks`: the text in pieces of whole physical lines, the first of which has the number `line`.
    """
    csv.field_size_limit(MAX_RECORD)
    source = _Source(iter(blocks), line)
    for start, last, fields in _parse(source, delimiter, width):
        if fields is None:
            yield from _damaged(start, source.lines(start, last), delimiter, width)
        else:
            yield start, fields


def record_starts(blocks: Iterable[str], delimiter: str, width: int, line: int) -> Iterator[int]:
    """Yields the lines at which `records` begins afresh: reading from there gives what it gives from there on."""
    csv.field_size_limit(MAX_RECORD)
    return (start for start, _, _ in _parse(_Source(iter(blocks), line), delimiter, width))


def read_records(uri: str, encoding: str, span: Span, header: Header) -> Iterator[Record]:
    """Yields the records below the header that begin in `span`, a range at whose ends a record begins."""
    for record in records(whole_lines(uri, encoding, span), header.delimiter, len(header.names), span.line):
        if record[0] > header.line:
            yield record
