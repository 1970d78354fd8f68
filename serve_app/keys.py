"""The API key: made at the service's first start, kept as a hash.

Output contract: `serve/keys.json` in the run folder (mode 600) holds SHA-256 hashes and dates, no key. The key itself
is returned once by `ensure`, and written to `serve/api_key` (mode 600) for scripts on this machine: delete that file
once the key is stored elsewhere. A key has 256 random bits, so its plain hash cannot be searched.
This module knows no scopes and revokes nothing: delete `serve/keys.json` and start again for a new key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import IntegrityError
from pipeline.run import Run
from pipeline.storage import storage_errors

STORE = "serve/keys.json"
PLAIN = "serve/api_key"
PREFIX = "sk-solotune-"


def digest(key: str) -> str:
    """Returns a key's SHA-256 in 64 hex digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with storage_errors(str(path)):
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def ensure(run: Run) -> tuple[list[str], str | None]:
    """Returns the hashes of the keys that are good for this run, and the key itself where it was made just now.

    Raises `IntegrityError` for a `keys.json` that is not one of ours.
    """
    store = run.local(STORE)
    if store.exists():
        try:
            return [str(entry["sha256"]) for entry in json.loads(store.read_text())["keys"]], None
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{store} does not hold API keys: delete it for a new key") from error
    key = PREFIX + secrets.token_urlsafe(32)
    _write_private(run.local(PLAIN), key)  # before the store: a start cut short in between makes a new key
    entry = {"sha256": digest(key), "created": datetime.now(UTC).isoformat(timespec="seconds")}
    _write_private(store, json.dumps({"keys": [entry]}, indent=2) + "\n")
    return [entry["sha256"]], key


def verify(key: str, hashes: Iterable[str]) -> bool:
    """Tells whether a key is one of those hashed; takes as long for a wrong key as for a right one."""
    presented = digest(key)
    good = False
    for known in hashes:
        good |= hmac.compare_digest(presented, known)
    return good
