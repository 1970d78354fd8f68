"""The fingerprint of a model: a hash of its whole content, blind to its name and location.

Output contract: `model_fingerprint` changes with any byte of any file that can matter to what a model computes. A file
of 1 MiB or more is read once per machine: its digest is cached in the user's cache folder under its path, size, times
and inode until one of them changes. Where that folder cannot be written, each process reads the file once.
This module downloads and loads nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline import storage
from pipeline.errors import StorageError

SMALL = 1 << 20  # bytes: reading such a file takes no longer than asking the cache
SETTLED = 2.0  # seconds: a change so soon after the last one may leave no trace in a file's times
_digests: dict[str, str] = {}  # of this process; key of a file -> its SHA-256


def model_fingerprint(name: str) -> str:
    """Returns 64 hex digits that change with the content of a model's file or folder; any other name is returned as it
    is.

    A folder's hash covers every file and its path in the folder, except Markdown, hidden files and compiled Python.
    """
    path = Path(name)
    if not path.exists():
        return name
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if _matters(file, path)]
    with ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter's lock
        digests = pool.map(_digest, files)
        lines = [(file.relative_to(path).as_posix(), digest) for file, digest in zip(files, digests, strict=True)]
    return hashlib.sha256(repr(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _matters(file: Path, folder: Path) -> bool:
    parts = file.relative_to(folder).parts
    ignored = file.suffix == ".md" or any(part.startswith(".") or part == "__pycache__" for part in parts)
    return file.is_file() and not ignored


def _digest(file: Path) -> str:
    """Returns a file's SHA-256, from the cache where the file is unchanged."""
    status = file.stat()
    if status.st_size < SMALL:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    key = hashlib.sha256(f"{file.resolve()}\0{state}".encode("utf-8", "surrogateescape")).hexdigest()
    digest = _digests.get(key) or _cached(key)
    if digest is None:
        digest = storage.sha256(file)
        if time.time() - max(status.st_mtime, status.st_ctime) < SETTLED:
            return digest
        with contextlib.suppress(OSError, StorageError):  # without a home or space, this process remembers
            storage.write_whole(storage.cache_folder() / "digests" / key, digest.encode())
    _digests[key] = digest
    return digest


def _cached(key: str) -> str | None:
    try:
        digest = (storage.cache_folder() / "digests" / key).read_text(encoding="ascii")
    except (OSError, StorageError, UnicodeDecodeError):
        return None
    return digest if len(digest) == 64 else None
