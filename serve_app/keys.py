"""API keys: a small JSON file of hashes that only its owner can write, read again by a running service when it changes.

Output contract: a key is 256 random bits behind `sk-solotune-`; the file holds its SHA-256 (a random key needs no
salt), name, scopes, limits and dates, never the key. The file has mode 600 and changes whole or not at all, one writer
at a time. A comparison takes as long for a wrong key as for a right one. A file that is gone leaves no key that is
good; one that cannot be read leaves the keys as they were, and an error in the log.
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
    """What is known of one key. A limit of None is none."""

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
        """The hash's first 12 digits: what logs call the key."""
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


def match(secret: str, known: Iterable[Key]) -> Key | None:
    """Returns the key that this is, unless it is revoked; looks at all of them whichever it is."""
    presented, found = digest(secret), None
    for key in known:
        if hmac.compare_digest(presented, key.sha256) and key.revoked is None:
            found = key
    return found


class Keyring:
    """Keys that are held in memory."""

    def __init__(self, known: Sequence[Key]) -> None:
        self._keys = tuple(known)

    def find(self, secret: str) -> Key | None:
        """Returns the key of a secret; None for an unknown or revoked one."""
        return match(secret, self._keys)


class KeyFile(Keyring):
    """The keys of a file. A look at its dates, a microsecond or two, comes before every search."""

    def __init__(self, path: Path) -> None:
        super().__init__(read(path))
        self.path, self._seen = path, self._dates(path)

    @staticmethod
    def _dates(path: Path) -> tuple[int, ...] | None:
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode

    def find(self, secret: str) -> Key | None:
        """Returns the key of a secret; None for an unknown or revoked one. Reads the file again when it has changed."""
        try:
            dates = self._dates(self.path)
            if dates != self._seen:
                self._seen = dates  # whatever it holds: a file that is wrong is reported once
                self._keys = read(self.path)
        except (OSError, SolotuneError) as error:
            log.error("the API keys stay as they were: %s", error)
        return super().find(secret)


def read(path: Path) -> tuple[Key, ...]:
    """Returns a file's keys, none where there is no file.

    Raises `UserError` for a file that others may write, and `IntegrityError` for one that is not ours.
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
    """Hands out the list of keys and writes back what has become of it; waits for any other writer."""
    with storage_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = list(read(path))
        yield known
        entries = [key.model_dump(mode="json", exclude_none=True) for key in known]
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
    """Adds a key; returns it with the secret, which nothing keeps. Raises `UserError` for what cannot be a key."""
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
    with _changing(path) as known:
        if any(other.name == name and other.revoked is None for other in known):
            raise UserError(f"there is a key named {name!r}: revoke it first, or choose another name")
        known.append(key)
    return key, secret


def revoke(path: Path, which: str) -> Key:
    """Marks a key as revoked, by its name or id; it stays in the file, so that logs can still be read."""
    with _changing(path) as known:
        found = [at for at, key in enumerate(known) if key.revoked is None and which in (key.name, key.id)]
        if not found:
            raise UserError(f"{path} has no key with the name or id {which!r} that is good")
        known[found[0]] = known[found[0]].model_copy(update={"revoked": _now()})
        return known[found[0]]


@contextmanager
def passing(path: Path, scopes: Sequence[str]) -> Iterator[str]:
    """Hands out a secret that is good inside the block, for a request of our own, and leaves no trace."""
    key, secret = make(path, f"passing-{secrets.token_hex(4)}", scopes)
    try:
        yield secret
    finally:
        with _changing(path) as known:
            known[:] = [other for other in known if other.sha256 != key.sha256]


def first(path: Path, plain: Path) -> bool:
    """Makes the first key of a new file, with the scope `chat`, and leaves it in `plain`, which its owner alone may
    read; returns False where there is a file.

    `plain` is written before the file: a start that is cut short in between makes another key.
    """
    if path.exists():
        read(path)
        return False
    secret = PREFIX + secrets.token_urlsafe(32)
    _write(plain, secret)
    with _changing(path) as known:
        known.append(Key(sha256=digest(secret), created=_now()))
    return True
