"""Local paths and URIs as pyarrow filesystems, their errors as one sentence, and whole writes to a local disk.

Output contract: a `uri` is an absolute local path or a URI that pyarrow's filesystems read, its query included
(`s3://bucket/runs/x?endpoint_override=minio:9000&scheme=http`). Credentials come from the environment or a profile,
never from a URI: `refuse_credentials` refuses them, because URIs end up in logs.
This module does not know what is stored.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from pyarrow import fs as pafs

from pipeline.errors import SolotuneError, StorageError, UserError, one_line

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_TEXT = re.compile(  # what libraries make of them: safetensors and tokenizers; torch.save; numpy's tofile
    r"No space left on device|File too large|Disk quota exceeded"
    r"|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+|\d+ requested and \d+ written"
)
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
_SECRET = re.compile(r"secret|token|password|credential|signature|^sig$", re.IGNORECASE)
_FLAT = {"s3", "gcs"}  # filesystems without folders


def refuse_credentials(uri: str) -> None:
    """Raises `UserError`, which does not quote the URI, for one with a password, a secret or a signature in it."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    names = [name for name, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True)]
    # No bucket's name has a colon or an at sign; elsewhere what stands before the at sign may be an account's name.
    inside = ":" in host or "@" in host if scheme == "s3" else ":" in host.rpartition("@")[0]
    if inside or any(_SECRET.search(name) for name in names):
        raise UserError(
            f"a URI given as {scheme}:// holds credentials, and URIs end up in logs: leave them out and set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or what the store uses) in the environment"
        )


@lru_cache(maxsize=64)
def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """Returns the filesystem of a URI and the path on it; one per process, because making an S3 client is slow."""
    handler, path = pafs.FileSystem.from_uri(uri)
    return handler, path.rstrip("/")


def has_folders(handler: pafs.FileSystem) -> bool:
    """Returns whether a file needs a folder to be in: object stores have keys only."""
    return handler.type_name not in _FLAT


def join(uri: str, path: str) -> str:
    """Returns the URI of a path below a URI, whose query stays at the end."""
    if "://" not in uri:
        return f"{uri.rstrip('/')}/{path}".rstrip("/")
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(path)}".rstrip("/")))


@contextlib.contextmanager
def storage_errors(where: str, verb: str = "write") -> Iterator[None]:
    """Turns a full disk, whatever library met it, a refusal or an object store's error into a `StorageError` that names
    `where`, a path or URI; other errors, a missing file among them, pass."""
    try:
        yield
    except SolotuneError:
        raise
    except Exception as error:
        if is_full(error):
            raise full(where) from error
        if not isinstance(error, OSError):
            raise
        if error.errno in _REFUSED:
            raise StorageError(f"cannot {verb} {where}: {error.strerror or error}") from error
        if error.errno is None and "://" in where:  # an object store's error is a text without a number
            raise StorageError(f"cannot {verb} {where}: {_reason(error)}") from error
        raise


def full(where: str) -> StorageError:
    """Returns the error of a full disk."""
    return StorageError(f"no space left to write {where}: free some and run the same command again")


def is_full(error: BaseException | None) -> bool:
    """Tells whether an error, or one that it came from, is that of a full disk, a used-up quota or a largest size."""
    while error is not None:
        if (error.errno in _FULL) if isinstance(error, OSError) and error.errno else _FULL_TEXT.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def has_room(path: Path) -> bool:
    """Tells whether a file can grow by 1 MiB; it keeps its size. For libraries that do not say why they failed."""
    size = path.stat().st_size
    try:
        with path.open("ab", buffering=0) as file:
            append_whole(file, bytes(1 << 20))
            file.truncate(size)
    except OSError as error:
        return error.errno not in _FULL
    return True


def _reason(error: OSError) -> str:
    """Returns what an object store says, without pyarrow's prefix and advice and without the request's id."""
    text = one_line(error)
    text = re.sub(r" \((Request ID|request id)[^)]*\)", "", text)
    text = re.sub(r"\. To create buckets, enable .*", "", text)
    aws = re.search(r"AWS Error (\w+) during \w+ operation:? ?(.*)", text)
    return f"{aws[1]}: {aws[2]}" if aws else text


# -- local files ------------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Returns this user's folder of what can be made again; raises `StorageError` for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "solotune"
    except RuntimeError as error:
        raise StorageError("this user has no home folder: name a folder for caches as XDG_CACHE_HOME") from error


@contextlib.contextmanager
def lent(temporary: Path) -> Iterator[None]:
    """Makes an empty folder for what a block will publish; whatever else is in it at the end takes up no space."""
    shutil.rmtree(temporary, ignore_errors=True)  # a killed process left it
    temporary.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_whole(target: Path, data: bytes | memoryview, private: bool = False) -> None:
    """Writes `data` to a local file, whole or not at all; it is on the disk when this returns.

    A missing folder is made. Nobody but its owner can ever read a private file or the folder made for it.
    """
    target.parent.mkdir(0o700 if private else 0o777, parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    to_disk(target.parent)  # the rename itself must survive a power cut


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a local file's content, as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_disk(path: Path) -> None:
    """Returns once the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_whole(stream: io.FileIO, data: bytes) -> None:
    """Appends all of `data` to an unbuffered file, or nothing where the disk fills up in the middle."""
    size = stream.seek(0, os.SEEK_END)
    try:
        if stream.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        stream.truncate(size)
        raise


def sweep(folder: Path) -> None:
    """Deletes temporary files of killed processes below a folder, in which nobody else may be writing."""
    for path, _, names in os.walk(folder):
        for name in names:
            if re.fullmatch(r"\..+\.[0-9a-f]{8}\.tmp", name):
                Path(path, name).unlink(missing_ok=True)
