"""What is inside a file: ZIP archives, gzip and zstd.

Output contract: `kind_of` says by its first bytes what a file is, whatever it is called; `entries` lists the files in
an archive, in its order; `unpack` opens what is in a file as a stream. Nothing is written to disk under a name from an
archive. `Budget` bounds what one file may grow to: its bytes are counted while they are read.
This module opens no files: it gets streams.
"""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from pipeline.errors import InputError

Kind = Literal["zip", "gzip", "zstd"]
PACKED: dict[bytes, Kind] = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
FOREIGN = {
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ\0": "xz-compressed",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"%PDF-": "a PDF",
    b"SQLite format 3\0": "an SQLite database",
    b"{\\rtf": "a rich text document",
}
OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
PARQUET = b"PAR1"
SMALL = 1 << 30  # bytes that any file may grow to
GROWTH = 250  # times its size that a bigger one may; exports as text grow five to thirty times
DEEPEST = 4  # archives in archives
MOST = 1_000_000  # files in one archive
WHOLE = "copy or export it again"


class BrokenError(Exception):
    """What is wrong with an archive, as the end of a sentence that begins with its name."""


BROKEN = (
    *(
        OSError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        RuntimeError,
        NotImplementedError,
    ),
    *(ValueError, KeyError, OverflowError, struct.error),  # of a directory that lies
)
"""What the libraries raise for archives that are damaged, encrypted or of an unknown kind."""


def explain(error: Exception) -> str:
    """Returns what is wrong with an archive, after its name."""
    text = " ".join(str(error).split())
    if "encrypted" in text or "password" in text.lower():
        return "is protected by a password: give it unpacked"
    if isinstance(error, NotImplementedError):
        return f"is compressed in a way that is not read ({text}): unpack it, or compress it as ZIP, gzip or zstd"
    return f"is damaged or not complete ({text or type(error).__name__}): {WHOLE}"


@dataclass
class Budget:
    """How many bytes may still come out of a file. Raises `InputError` once they are used up."""

    name: str
    left: int

    @classmethod
    def of(cls, name: str, size: int) -> Budget:
        """Returns the budget of a file of `size` bytes."""
        return cls(name, max(SMALL, GROWTH * size))

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise InputError(
                f"{self.name} grows to more than {GROWTH} times its size when it is unpacked, as archives do that are "
                "made to fill a disk: if it is sound, give it unpacked"
            )


def kind_of(head: bytes) -> Kind | None:
    """Returns how a file is packed, by its first bytes."""
    return next((kind for mark, kind in PACKED.items() if head.startswith(mark)), None)


def foreign(head: bytes) -> str | None:
    """Returns what a file is that no reader reads, by its first bytes."""
    return next((what for mark, what in FOREIGN.items() if head.startswith(mark)), None)


def open_zip(stream: Any) -> zipfile.ZipFile:
    """Opens an archive; raises one of `BROKEN`."""
    return zipfile.ZipFile(stream)


def office(names: frozenset[str]) -> str:
    """Returns what an archive with these files is: `workbook`, `document` of another office program, or ""."""
    if names & {"xl/workbook.xml", "xl/workbook.bin"}:
        return "workbook"
    if "content.xml" in names and "mimetype" in names:
        return "workbook"
    return "document" if names & {"word/document.xml", "ppt/presentation.xml"} else ""


def entries(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yields the names of the files in an archive, without folders, hidden ones and what macOS adds."""
    infos = archive.infolist()
    if len(infos) > MOST:
        raise BrokenError(f"holds more than {MOST:,} files: give it unpacked")
    for name in dict.fromkeys(info.filename for info in infos if path_in(info.filename) and info.filename[-1] != "/"):
        parts = path_in(name).split("/")
        if parts[0] != "__MACOSX" and not any(part.startswith(".") for part in parts):
            yield name


def path_in(name: str) -> str:
    """Returns the path of a file in an archive below the archive, wherever its name leads."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def unpack(stream: Any, kind: Literal["gzip", "zstd"]) -> io.RawIOBase:
    """Opens a compressed stream, of one piece or several one after the other."""
    inner: io.RawIOBase = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), kind)
    return inner
