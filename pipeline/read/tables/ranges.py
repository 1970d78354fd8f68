"""One big file as several units of work, so that all cores read it and a killed task does not start at its beginning.

Output contract: `pieces` returns the file itself, or ranges of it in order that cover it and each begin where a record
begins: reading them one after the other gives exactly the rows of reading the file. Where a record begins in a CSV is
proven by its quotes, at the speed of counting them, and where the quotes leave a doubt by reading the records
themselves. The ranges depend on the file alone. What is packed or in UTF-16 or UTF-32 stays whole, as do JSON
documents, workbooks, pages and mails. Memory: a few blocks, one record.
This module does not read rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline.read.inputs.encodings import SINGLE_BYTE
from pipeline.read.inputs.input_file import InputFile
from pipeline.read.inputs.open_inputs import Member, Span, open_bytes, whole_lines
from pipeline.read.tables import parquet
from pipeline.read.tables.csvfile import MAX_RECORD, Header, read_header, record_starts

PIECE = 32 << 20  # bytes of a text
ROWS = 50_000  # of a Parquet file
WINDOW = 4 << 20  # bytes looked at in one step
QUOTE, LF, CR = 0x22, 0x0A, 0x0D

Start = tuple[int, int]  # byte, line (1-based)


class _DoubtError(Exception):
    """A quote whose part in the record cannot be told from its neighbours."""


def pieces(file: InputFile, size: int = PIECE, rows: int = ROWS) -> list[InputFile]:
    """Returns the ranges of about `size` bytes or `rows` rows in which a file is read."""
    spans: list[Span] = []
    if file.blank or file.partners or isinstance(file.uri, Member) or file.format not in ("csv", "jsonl", "parquet"):
        return [file]
    if file.format == "parquet":
        spans = parquet.spans(file.uri, rows)
    elif file.size > size and file.encoding in ("utf-8", "utf-8-sig", *SINGLE_BYTE):
        header = None if file.format == "jsonl" else read_header(file.uri, file.encoding)
        starts = list(_starts(file, header, size))
        ends = [byte for byte, _ in starts[1:]] + [file.size]
        spans = [Span(byte, end, line) for (byte, line), end in zip(starts, ends, strict=True)]
    return [replace(file, span=span) for span in spans] if len(spans) > 1 else [file]


def _starts(file: InputFile, header: Header | None, size: int) -> Iterator[Start]:
    """Yields the start of the file and of each first record that begins `size` bytes or more after the one before."""
    start: Start = (0, 1)
    while True:
        yield start
        try:
            found = _next(file, start, size, header)
        except _DoubtError:
            found = _next_by_reading(file, start, size, header) if header else None
        if found is None:
            return
        start = found


def _blocks(file: InputFile, start: int) -> Iterator[bytes]:
    """Yields the file from byte `start` on in blocks that end with LF, except the last."""
    rest: list[bytes] = []
    with open_bytes(file.uri, start, file.size) as stream:
        while block := stream.read(WINDOW):
            end = block.rfind(b"\n") + 1
            if end:
                yield b"".join([*rest, block[:end]])
                rest = []
            rest.append(block[end:])
    if any(rest):
        yield b"".join(rest)


def _ends(block: bytes, universal: bool) -> int:
    """Returns how many lines end in a block that does not end between CR and LF."""
    return block.count(b"\n") + (block.count(b"\r") - block.count(b"\r\n") if universal and b"\r" in block else 0)


def _next(file: InputFile, start: Start, size: int, header: Header | None) -> Start | None:
    """Returns the first start of a record at least `size` bytes after another, None without one.

    Raises `_DoubtError`. JSON lines (no header) end at every LF.
    """
    at, line = start
    target = at + size
    quotes, ended = 0, at  # so far; the byte where the last record ended
    for block in _blocks(file, at):
        values = np.frombuffer(block if block.endswith(b"\n") else block + b"\n", np.uint8)
        ends = np.flatnonzero(values == LF) + 1
        if header is not None:
            mark = len("\ufeff".encode()) if at == 0 and file.encoding == "utf-8-sig" else 0
            found = _quotes(values[mark:], quotes, header.delimiter) + mark
            ends = ends[(np.searchsorted(found, ends) + quotes) % 2 == 0]
            quotes += len(found)
            if np.diff(ends + at, prepend=ended, append=at + len(block)).max() > MAX_RECORD:
                raise _DoubtError
            ended = at + int(ends[-1]) if len(ends) else ended
        first = int(np.searchsorted(ends, target - at))
        if first < len(ends) and at + ends[first] < file.size:
            return at + int(ends[first]), line + _ends(block[: ends[first]], header is not None)
        line += _ends(block, header is not None)
        at += len(block)
    return None


def _quotes(values: np.ndarray, before: int, delimiter: str) -> np.ndarray:
    """Returns the positions of the quotes in whole lines of a CSV, `before` of them in the record so far.

    Raises `_DoubtError` unless each that opens stands behind a delimiter or a line end, and each that closes in front
    of one; or next to a quote, as half of a doubled one. Then every line end outside of quotes is the end of a record
    to `csv.reader` as well.
    """
    if not delimiter.isascii():
        raise _DoubtError
    quotes = np.flatnonzero(values == QUOTE)
    beside = np.zeros(256, bool)
    beside[[QUOTE, LF, CR, ord(delimiter)]] = True
    opening, closing = quotes[before % 2 :: 2], quotes[(before + 1) % 2 :: 2]
    opening = opening[opening > 0]  # a line begins with the first one
    if not (beside[values[opening - 1]].all() and beside[values[closing + 1]].all()):
        raise _DoubtError
    return quotes


def _next_by_reading(file: InputFile, start: Start, size: int, header: Header) -> Start | None:
    """Returns what `_next` does, from the records themselves."""
    at, line = start
    target = at + size
    for block in _blocks(file, at):  # the first line that begins at or after the target
        end = block.find(b"\n", max(0, target - at - 1)) + 1
        line += _ends(block[:end] if end else block, True)
        at += end or len(block)
        if end:
            break
    text = whole_lines(file.uri, file.encoding, Span(start[0], file.size, start[1]))
    found = record_starts(text, header.delimiter, len(header.names), start[1])
    number = next((number for number in found if number >= line), None)
    if number is None:
        return None
    for block in _blocks(file, at):
        begin = at
        for match in re.finditer(rb"\r\n|\n|\r", block):
            if line == number:
                break
            at, line = begin + match.end(), line + 1
        if line == number:
            break
    return at, number
