"""API keys: a small JSON file of hashes that only its owner can write, read again by a running service when it changes.

Output contract: a key is 256 random bits behind `sk-solotune-`; the file holds its SHA-256 (a random key needs no
salt), name, scopes, limits and dates, never the key. The file has mode 600 and changes whole or not at all, one writer
at a time. A comparison takes as long for a wrong key as for a right one. A deleted file revokes all keys; an unreadable
one leaves the keys as they were, and an error in the log.
This module answers no requests: `access` says what a key may do.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from pipeline.errors import IntegrityError, SolotuneError, UserError
from pipeline.storage import storage_errors, write_whole

log = logging.getLogger("solotune.serve")

STORE = "serve/keys.json"  # in a run folder
PLAIN = "serve/api_key"
PREFIX = "sk-solotune-"
Scope = Literal["chat", "feedback", "review", "metrics", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Key(BaseModel):
    """One key of the file; None as a limit is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "first"
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: tuple[Scope, ...] = ("chat",)
    created: str
    revoked: str | None = None
    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None  # prompt and answer together

    @property
    def id(self) -> str:
        """The hash's first 12 digits: the key's name in logs."""
        return self.sha256[:12]

    def cells(self) -> tuple[str, ...]:
        """Returns the key as a row of text: id, name, scopes, dates, limits."""
        limits = [str(limit or "") for limit in (self.requests_per_minute, self.tokens_per_minute)]
        return (self.id, self.name, ",".join(self.scopes), self.created, self.revoked or "", *limits)


class _Store(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...]


def digest(key: str) -> str:
    """Returns a key's SHA-256 in 64 hex digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def match(secret: str, keys: Iterable[Key]) -> Key | None:
    """Returns the key of a secret, None for an unknown or revoked one; compares with all keys in any case."""
    presented, result = digest(secret), None
    for key in keys:
        if hmac.compare_digest(presented, key.sha256) and key.revoked is None:
            result = key
    return result


class Keyring:
    """Keys in memory."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def find(self, secret: str) -> Key | None:
        """Returns the key of a secret, None for an unknown or revoked one."""
        return match(secret, self._keys)


class KeyFile(Keyring):
    """The keys of a file, whose dates are checked before every search: a microsecond or two."""

    def __init__(self, path: Path) -> None:
        super().__init__(read(path))
        self.path, self._status = path, self._stat(path)

    @staticmethod
    def _stat(path: Path) -> tuple[int, ...] | None:
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode

    def find(self, secret: str) -> Key | None:
        """Returns the key of a secret, None for an unknown or revoked one; reads a changed file again."""
        try:
            status = self._stat(self.path)
            if status != self._status:
                self._status = status  # set before reading: a broken file is reported once
                self._keys = read(self.path)
        except (OSError, SolotuneError) as error:
            log.error("the API keys stay as they were: %s", error)
        return super().find(secret)


def read(path: Path) -> tuple[Key, ...]:
    """Returns a file's keys, none where there is no file.

    Raises `UserError` for a file that others may write, and `IntegrityError` for one of another format.
    """
    try:
        with storage_errors(str(path), "read"), path.open(encoding="utf-8") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o022:
                raise UserError(f"others may write {path}, and so let themselves in: chmod 600 {path}")
            return _Store.model_validate_json(stream.read()).keys
    except FileNotFoundError:
        return ()
    except ValueError as error:  # pydantic's own error is one
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "it is not UTF-8"
        raise IntegrityError(f"{path} does not hold API keys ({what}): put it right, or delete it") from error


@contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """Yields the list of keys, to be changed, and writes it; waits for any other writer."""
    with storage_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = list(read(path))
        yield keys
        entries = [key.model_dump(mode="json", exclude_none=True) for key in keys]
        _write(path, json.dumps({"keys": entries}, indent=2) + "\n")
    finally:
        os.close(lock)


def _write(path: Path, text: str) -> None:
    with storage_errors(str(path)):
        write_whole(path, text.encode(), private=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def make(
    path: Path,
    name: str,
    scopes: Sequence[str],
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
) -> tuple[Key, str]:
    """Adds a key; returns it with its secret, which is stored nowhere. Raises `UserError` for a bad argument."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise UserError(f"scopes are some of {', '.join(SCOPES)}" + (f", not {unknown[0]!r}" if unknown else ""))
    if not _NAME.fullmatch(name):
        raise UserError("a key's name is up to 64 letters, digits, dots, dashes and underscores")
    if any(limit is not None and limit < 1 for limit in (requests_per_minute, tokens_per_minute)):
        raise UserError("a limit is a positive number: leave it out for none")
    secret = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        name=name,
        sha256=digest(secret),
        scopes=tuple(scope for scope in get_args(Scope) if scope in scopes),
        created=_now(),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    with _changing(path) as keys:
        if any(other.name == name and other.revoked is None for other in keys):
            raise UserError(f"there is a key named {name!r}: revoke it first, or choose another name")
        keys.append(key)
    return key, secret


def revoke(path: Path, which: str) -> Key:
    """Marks a key as revoked, by its name or id; it stays in the file, for readers of the logs."""
    with _changing(path) as keys:
        for index, key in enumerate(keys):
            if key.revoked is None and which in (key.name, key.id):
                keys[index] = key.model_copy(update={"revoked": _now()})
                return keys[index]
        raise UserError(f"{path} has no key with the name or id {which!r} that is good")


@contextmanager
def passing(path: Path, scopes: Sequence[str]) -> Iterator[str]:
    """Yields a secret that is valid inside the block, for a request of our own."""
    key, secret = make(path, f"passing-{secrets.token_hex(4)}", scopes)
    try:
        yield secret
    finally:
        with _changing(path) as keys:
            keys[:] = [other for other in keys if other.sha256 != key.sha256]


def first(path: Path, plain: Path) -> bool:
    """Makes the first key of a new file, with the scope `chat`, and writes it to `plain`, readable by its owner.

    Returns False where there is a file. `plain` comes first: a start that is cut short in between makes another key.
    """
    if path.exists():
        read(path)
        return False
    secret = PREFIX + secrets.token_urlsafe(32)
    _write(plain, secret)
    with _changing(path) as keys:
        keys.append(Key(sha256=digest(secret), created=_now()))
    return True
