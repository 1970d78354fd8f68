"""Keys: one at the first start, only its hash kept, readable by the owner alone."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.run import Run
from serve_app import keys


def test_a_key_is_made_once_and_only_its_hash_is_stored(tmp_path: Path) -> None:
    run = Run.open(str(tmp_path))
    hashes, key = keys.ensure(run)
    assert key is not None
    assert key.startswith("sk-solotune-")
    assert len(key) == len("sk-solotune-") + 43
    assert keys.ensure(run) == (hashes, None)
    store = run.local(keys.STORE)
    assert key not in store.read_text()
    assert run.local(keys.PLAIN).read_text() == key
    for path in (store, run.local(keys.PLAIN)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [path for path in store.parent.iterdir() if path.name.startswith(".")]


def test_deleting_the_store_makes_another_key(tmp_path: Path) -> None:
    run = Run.open(str(tmp_path))
    old, first = keys.ensure(run)
    run.local(keys.STORE).unlink()
    new, second = keys.ensure(run)
    assert first != second
    assert second is not None
    assert keys.verify(second, new)
    assert not keys.verify(second, old)


def test_verify_takes_the_key_and_nothing_else(tmp_path: Path) -> None:
    hashes, key = keys.ensure(Run.open(str(tmp_path)))
    assert key is not None
    assert keys.verify(key, [keys.digest("another"), *hashes])
    for wrong in ("", key[:-1], key + "x", hashes[0], "\udce9"):
        assert not keys.verify(wrong, hashes)
    assert not keys.verify(key, [])


@pytest.mark.parametrize("content", ["", "{}", "[1]", json.dumps({"keys": [{"sha": "x"}]})])
def test_a_store_that_is_not_ours_is_an_error(tmp_path: Path, content: str) -> None:
    run = Run.open(str(tmp_path))
    run.write_bytes(keys.STORE, content.encode())
    with pytest.raises(IntegrityError, match="delete it"):
        keys.ensure(run)
