"""Opening inputs: local paths and any URI that pyarrow's filesystems read; what encoding a text is in.

Output contract: streams of bytes and of decoded physical lines (line ends kept: LF, CR or CRLF). Bytes that the
encoding does not define come out as U+DCFF, never dropped and never guessed: a reader can refuse the very row they are
in.
This module does not know formats.
"""

from __future__ import annotations

import codecs
import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote, urlsplit, urlunsplit

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from pipeline.errors import InputError
from pipeline.read.rows import UNDEFINED

BLOCK = 1 << 20
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
    try:
        filesystem, path = pafs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"cannot open the input {uri}: {error}") from error
    return filesystem, path.rstrip("/")


def below(uri: str, path: str) -> str:
    """Returns the path or URI of something in a folder, with the URI's query kept."""
    if "://" not in uri:
        return str(Path(uri).absolute() / path)
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(path)}"))


def open_bytes(uri: str) -> BinaryIO:
    """Opens a file for reading from its start, buffered."""
    filesystem, path = locate(uri)
    try:
        if isinstance(filesystem, pafs.LocalFileSystem):
            return Path(path).open("rb")
        return cast(BinaryIO, io.BufferedReader(filesystem.open_input_stream(path, compression=None), BLOCK))
    except OSError as error:
        raise InputError(f"cannot read {uri}: {error.strerror or error}") from error


def open_random(uri: str) -> Any:
    """Opens a file for reading anywhere (a pyarrow file)."""
    filesystem, path = locate(uri)
    try:
        return filesystem.open_input_file(path)
    except OSError as error:
        raise InputError(f"cannot read {uri}: {error.strerror or error}") from error


def open_lines(uri: str, encoding: str, newline: str = "") -> io.TextIOWrapper:
    """Opens a text; iterating gives physical lines with their ends. `newline` as in `open`."""
    return io.TextIOWrapper(open_bytes(uri), encoding=encoding, errors="undefined", newline=newline)


class _Vote:
    """Decides between UTF-8 and cp1252, block by block: which of them explains the bytes above 127?

    One damaged character must not turn every umlaut of a UTF-8 file into two wrong ones, so the better explanation
    wins; the rows it does not explain are refused one by one. A character cut off at the end of the file does not vote.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("undefined")
        self._good = self._bad = 0

    def add(self, block: bytes) -> None:
        text = self._decoder.decode(block)
        if not text.isascii():
            points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
            bad = int((points == ord(UNDEFINED)).sum())
            self._bad += bad
            self._good += int((points > 127).sum()) - bad

    def encoding(self) -> str:
        return "utf-8" if self._good >= self._bad else "cp1252"


def examine(uri: str, text: bool) -> tuple[int, str, str]:
    """Reads a file once: returns its size in bytes, BLAKE2b-128 of its content (hex) and, for a text, its encoding."""
    digest = hashlib.blake2b(digest_size=16)
    size, encoding, vote = 0, "", _Vote()
    with open_bytes(uri) as stream:
        while block := stream.read(BLOCK):
            if text and size == 0:
                encoding = next((name for mark, name in MARKS if block.startswith(mark)), "")
            if text and encoding in ("", "utf-8-sig"):
                vote.add(block)
            digest.update(block)
            size += len(block)
    if text and not encoding:
        encoding = vote.encoding()
    return size, digest.hexdigest(), encoding
