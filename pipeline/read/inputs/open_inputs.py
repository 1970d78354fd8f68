"""Opening inputs: local paths, any URI that pyarrow's filesystems read, and what is inside archives.

Output contract: streams of bytes and of decoded physical lines (line ends kept: LF, CR or CRLF), of a whole file or of
a range of it. Bytes that the encoding does not define come out as U+DCFF, never dropped and never guessed: a reader can
refuse the very row they are in. A file is read as far as it was long when it was found; one that has become shorter is
an `InputError`. Memory: one block and one line of at most `MAX_LINE` characters.
This module does not know formats.
"""

from __future__ import annotations

import codecs
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
from pyarrow import fs as pafs

from pipeline.errors import InputError
from pipeline.read.inputs import archives
from pipeline.storage import filesystem, join, refuse_credentials

BLOCK = 1 << 20  # bytes read at once
TEXT = 1 << 18  # characters split into lines at once
MAX_LINE = 16 << 20  # characters of a physical line; a longer one is one damaged line
IN_MEMORY = 32 << 20  # bytes of an archive in an archive that are held in memory; more go to a file without a name
UNDEFINED = "\udcff"  # stands for bytes that the file's encoding does not define

codecs.register_error("undefined", lambda error: (UNDEFINED, cast(UnicodeDecodeError, error).end))


class Member(str):
    """Something inside a file: as a text the path that it would have were the file a folder.

    `container`: the file, which may be a member itself; `kind`: how it is packed; `name`: of a file in a ZIP archive.
    """

    container: str
    kind: archives.Kind
    name: str

    def __new__(cls, container: str, kind: archives.Kind, name: str = "") -> Member:
        member = super().__new__(cls, below(container, name) if name else container)
        member.container, member.kind, member.name = container, kind, name
        return member

    def __getnewargs__(self) -> tuple[str, archives.Kind, str]:  # type: ignore[override]
        return self.container, self.kind, self.name


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
        except archives.BROKEN as error:
            raise _unreadable(self._uri, error) from error
        if count == 0 and self._end is not None:
            raise InputError(
                f"{self._uri} has become shorter since it was found: run the job again when it is complete"
            )
        self._at += count
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _unreadable(uri: str, error: Exception) -> InputError:
    if isinstance(uri, Member):
        return InputError(f"{uri.container} {archives.explain(error)}")
    return InputError(f"cannot read {uri}: {getattr(error, 'strerror', None) or error}")


# -- archives ---------------------------------------------------------------------------------------------------------


def _stamp(uri: str) -> tuple[int, int]:
    """Returns size and time of the file that a member is in, in the end: an archive is opened again when it changes."""
    while isinstance(uri, Member):
        uri = uri.container
    files, path = locate(uri)
    info = files.get_file_info(path)
    return int(info.size or 0), int(info.mtime_ns or 0)


@lru_cache(maxsize=4)  # opening one means reading the names of all that is in it
def _archive(uri: str, stamp: tuple[int, int]) -> zipfile.ZipFile:
    return archives.open_zip(_seekable(uri))


def archive(uri: str) -> zipfile.ZipFile:
    """Opens a ZIP archive, or returns the one that this process has open; raises `InputError` for a broken one."""
    try:
        return _archive(uri, _stamp(uri))
    except archives.BROKEN as error:
        raise InputError(f"{uri} {archives.explain(error)}") from error


def _seekable(uri: str) -> Any:
    """Opens a file as `zipfile` wants it: errors are those of Python's own files."""
    return open_random(uri) if isinstance(uri, Member) else io.BufferedReader(_Random(open_random(uri)), BLOCK)


def _open_member(uri: Member) -> Any:
    if uri.kind == "zip":
        return archive(uri.container).open(uri.name)
    return archives.unpack(_open_raw(uri.container), uri.kind)


class _Random(io.RawIOBase):
    """One of pyarrow's files to read anywhere, closed with the last reference to it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return int(self._file.seek(offset, whence))
        except ValueError as error:  # pyarrow's, before the start of a file
            raise OSError(str(error)) from error

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


class _Spool(io.RawIOBase):
    """Bytes in a file without a name, which is gone with the last reference to this object."""

    def __init__(self, first: bytes, stream: BinaryIO) -> None:
        self._descriptor, path = tempfile.mkstemp()
        Path(path).unlink()
        with io.FileIO(self._descriptor, "wb", closefd=False) as raw, io.BufferedWriter(raw) as file:
            file.write(first)
            shutil.copyfileobj(stream, file, BLOCK)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._descriptor, len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, os.fstat(self._descriptor).st_size)[whence] + offset
        if self._at < 0:
            raise OSError("before the start of the file")
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def _spooled(uri: Member) -> Any:
    """Returns a member's bytes as a file to read anywhere."""
    with open_bytes(uri) as stream:
        first = stream.read(IN_MEMORY)
        return io.BytesIO(first) if len(first) < IN_MEMORY else io.BufferedReader(_Spool(first, stream), BLOCK)


def _open_raw(uri: str, start: int = 0) -> Any:
    """Opens a file, or what is inside one, for reading from its start, or anywhere if `start` is given."""
    if isinstance(uri, Member):
        return _open_member(uri)
    files, path = locate(uri)
    if isinstance(files, pafs.LocalFileSystem):
        return io.FileIO(path)
    return files.open_input_file(path) if start else files.open_input_stream(path, compression=None)


# -- bytes and lines --------------------------------------------------------------------------------------------------


def open_bytes(uri: str, start: int = 0, end: int | None = None) -> BinaryIO:
    """Opens the bytes `start` to `end` of a file (None: to its end) for reading, buffered."""
    try:
        raw = _open_raw(uri, start)
    except archives.BROKEN as error:
        raise _unreadable(uri, error) from error
    return cast(BinaryIO, io.BufferedReader(_Range(raw, uri, start, end), BLOCK))


def open_random(uri: str) -> Any:
    """Opens a file for reading anywhere (a pyarrow file, or one of Python's)."""
    if isinstance(uri, Member):
        return _spooled(uri)
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
