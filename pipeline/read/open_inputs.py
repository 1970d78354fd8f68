"""Opening inputs: local paths and any URI that pyarrow's filesystems read; what encoding a text is in.

Output contract: streams of bytes and of decoded physical lines (line ends kept: LF, CR or CRLF), of a whole file or of
a range of it. Bytes that the encoding does not define come out as U+DCFF, never dropped and never guessed: a reader can
refuse the very row they are in. A file is read as far as it was long when it was found; one that has become shorter is
an `InputError`. Memory: one block and one line of at most `MAX_LINE` characters.
This module does not know formats.
"""

from __future__ import annotations

import codecs
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from pipeline.errors import InputError
from pipeline.read.rows import UNDEFINED
from pipeline.storage import filesystem, join, refuse_credentials

BLOCK = 1 << 20  # bytes read at once
TEXT = 1 << 18  # characters split into lines at once
MAX_LINE = 16 << 20  # characters of a physical line; a longer one is one damaged line
PACKED = {
    b"\x1f\x8b": "gzip-compressed",
    b"PK\x03\x04": "a ZIP archive (an .xlsx workbook is one, too)",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"BZh91AY&SY": "bzip2-compressed",
    b"\xfd7zXZ\0": "xz-compressed",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"7z\xbc\xaf": "a 7z archive",
    b"%PDF-": "a PDF",
    b"SQLite format 3\0": "an SQLite database",
    b"PAR1\x15": "a Parquet file: rename it to end in .parquet",
}
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

codecs.register_error("undefined", lambda error: (UNDEFINED, cast(UnicodeDecodeError, error).end))


def locate(uri: str) -> tuple[pafs.FileSystem, str]:
    """Returns the filesystem and the path on it; raises `InputError` for a URI that pyarrow does not know."""
    if "://" not in uri:
        return pafs.LocalFileSystem(), str(Path(uri).absolute())
    refuse_credentials(uri)
    try:
        return filesystem(uri)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"cannot open the input {uri}: {error}") from error


def below(uri: str, path: str) -> str:
    """Returns the path or URI of something in a folder, with the URI's query kept."""
    return join(uri if "://" in uri else str(Path(uri).absolute()), path)


@dataclass(frozen=True)
class Span:
    """A range of a file: bytes `start` to `end` of a text, row groups `start` to `end` of a Parquet file. `line` is the
    number of its first line or row (1-based)."""

    start: int
    end: int
    line: int


class _Range(io.RawIOBase):
    """The bytes `start` to `end` of a file (None: to its end)."""

    def __init__(self, raw: Any, uri: str, start: int, end: int | None) -> None:
        self._raw, self._uri, self._at, self._end = raw, uri, start, end
        if start:
            raw.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = len(buffer) if self._end is None else min(len(buffer), self._end - self._at)
        if room == 0:
            return 0
        try:
            count = int(self._raw.readinto(memoryview(buffer)[:room]))
        except OSError as error:
            raise InputError(f"cannot read {self._uri}: {error.strerror or error}") from error
        if count == 0 and self._end is not None:
            raise InputError(
                f"{self._uri} has become shorter since it was found: run the job again when it is complete"
            )
        self._at += count
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def open_bytes(uri: str, start: int = 0, end: int | None = None) -> BinaryIO:
    """Opens the bytes `start` to `end` of a file (None: to its end) for reading, buffered."""
    files, path = locate(uri)
    try:
        if isinstance(files, pafs.LocalFileSystem):
            raw: Any = io.FileIO(path)
        elif start:
            raw = files.open_input_file(path)
        else:
            raw = files.open_input_stream(path, compression=None)
    except OSError as error:
        raise InputError(f"cannot read {uri}: {error.strerror or error}") from error
    return cast(BinaryIO, io.BufferedReader(_Range(raw, uri, start, end), BLOCK))


def open_random(uri: str) -> Any:
    """Opens a file for reading anywhere (a pyarrow file)."""
    files, path = locate(uri)
    try:
        return files.open_input_file(path)
    except OSError as error:
        raise InputError(f"cannot read {uri}: {error.strerror or error}") from error


def open_text(uri: str, encoding: str, start: int = 0, end: int | None = None, newline: str = "") -> io.TextIOWrapper:
    """Opens a text, or the range of one that begins with a line. `newline` as in `open`."""
    stream = open_bytes(uri, start, end)
    encoding = "utf-8" if start and encoding == "utf-8-sig" else encoding  # a mark inside the file is a character
    return io.TextIOWrapper(stream, encoding=encoding, errors="undefined", newline=newline)


def whole_lines(uri: str, encoding: str, span: Span, newline: str = "") -> Iterator[str]:
    """Yields a text in blocks of whole physical lines; `newline` as in `open`: "" knows LF, CR and CRLF.

    A line above `MAX_LINE` characters becomes a line of one U+DCFF.
    """
    ends = ("\n",) if newline == "\n" else ("\n", "\r")
    ahead = ""
    with open_text(uri, encoding, span.start, span.end, newline) as text:
        while block := ahead + text.read(TEXT):
            ahead = ""
            start = max(block.rfind(end) for end in ends) + 1  # of the last line, which is seldom whole
            rest = text.readline(max(1, MAX_LINE + 1 - (len(block) - start)))
            if len(block) - start + len(rest) > MAX_LINE:
                block = block[:start] + UNDEFINED + "\n"
                while rest and not rest.endswith(ends):
                    rest = text.readline(TEXT)
                if rest.endswith("\r") and (ahead := text.read(1)) == "\n":
                    ahead = ""
            else:
                block += rest
            yield block


class _Vote:
    """Decides between UTF-8 and cp1252, block by block: which of them explains the bytes above 127?

    One damaged character must not turn every umlaut of a UTF-8 file into two wrong ones, so the better explanation
    wins; the rows it does not explain are refused one by one. A character cut off at the end of the file does not vote.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("undefined")
        self._good = self._bad = 0

    def add(self, block: bytes) -> None:
        if block.isascii() and not self._decoder.getstate()[0]:
            return
        text = self._decoder.decode(block)
        bad = text.count(UNDEFINED)
        self._bad += bad
        self._good += len(text) - bad - int(np.count_nonzero(np.frombuffer(block, np.uint8) < 0x80))

    def encoding(self) -> str:
        return "utf-8" if self._good >= self._bad else "cp1252"


def examine(uri: str, text: bool) -> tuple[int, str, str]:
    """Reads a file once: returns its size in bytes, BLAKE2b-128 of its content (hex) and, for a text, its encoding.

    Raises `InputError` for a text that is an archive or another binary format in disguise.
    """
    digest = hashlib.blake2b(digest_size=16)
    size, encoding, vote = 0, "", _Vote()
    with open_bytes(uri) as stream:
        while block := stream.read(BLOCK):
            if text and size == 0:
                if packed := next((what for mark, what in PACKED.items() if block.startswith(mark)), None):
                    raise InputError(f"{uri} is not a text but {packed}")
                encoding = next((name for mark, name in MARKS if block.startswith(mark)), "")
            if text and encoding == "":
                vote.add(block)
            digest.update(block)
            size += len(block)
    if text and not encoding:
        encoding = vote.encoding()
    return size, digest.hexdigest(), encoding
