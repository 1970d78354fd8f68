"""Keys: hashes in a private file, scopes and limits, changes that a running service sees, the command line."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError, UserError
from serve_app import keys


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "serve" / "keys.json"


def test_a_key_is_random_and_only_its_hash_is_stored(store: Path) -> None:
    key, secret = keys.make(store, "crm", ["feedback", "chat"], requests_per_minute=60)
    assert secret.startswith("sk-solotune-")
    assert len(secret) == len("sk-solotune-") + 43
    assert secret not in store.read_text()
    assert key.scopes == ("chat", "feedback")
    assert keys.read(store) == (key,)
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert sorted(path.name for path in store.parent.iterdir()) == [".keys.json.lock", "keys.json"]


def test_the_first_key_is_made_once_and_left_beside_the_file(store: Path) -> None:
    plain = store.with_name("api_key")
    assert keys.first(store, plain)
    secret = plain.read_text()
    assert stat.S_IMODE(plain.stat().st_mode) == 0o600
    assert not keys.first(store, plain)
    assert plain.read_text() == secret
    (key,) = keys.read(store)
    assert keys.match(secret, [key]) == key
    assert key.scopes == ("chat",)
    store.unlink()
    assert keys.first(store, plain)
    assert plain.read_text() != secret


def test_a_key_is_found_and_nothing_else_is(store: Path) -> None:
    _, other = keys.make(store, "other", ["chat"])
    key, secret = keys.make(store, "mine", ["chat"])
    known = keys.read(store)
    assert keys.match(secret, known) == key
    for wrong in ("", secret[:-1], secret + "x", key.sha256, "\udce9"):
        assert keys.match(wrong, known) is None
    assert keys.match(secret, []) is None
    keys.revoke(store, "mine")
    assert keys.match(secret, keys.read(store)) is None
    assert keys.match(other, keys.read(store)) is not None


def test_every_key_is_compared_whichever_it_is(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [keys.make(store, f"k{at}", ["chat"])[1] for at in range(3)]
    compared: list[str] = []
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda given, known: compared.append(known) or given == known)
    for secret in (*secrets, "wrong"):
        compared.clear()
        keys.match(secret, keys.read(store))
        assert len(compared) == 3


def test_a_revoked_key_stays_in_the_file_and_its_name_is_free(store: Path) -> None:
    key, _ = keys.make(store, "crm", ["chat"])
    assert keys.revoke(store, key.id).revoked is not None
    again, _ = keys.make(store, "crm", ["chat"])
    assert [(at.id, at.revoked is None) for at in keys.read(store)] == [(key.id, False), (again.id, True)]
    assert keys.revoke(store, "crm").id == again.id
    with pytest.raises(UserError, match="no key with the name or id 'crm'"):
        keys.revoke(store, "crm")


@pytest.mark.parametrize(
    ("name", "scopes", "limit", "says"),
    [
        ("taken", ["chat"], None, "revoke it first"),
        ("new", [], None, "scopes are some of chat"),
        ("new", ["chat", "root"], None, "not 'root'"),
        ("a b", ["chat"], None, "a key's name"),
        ("new", ["chat"], 0, "a limit is a positive number"),
    ],
)
def test_what_cannot_be_a_key_is_refused(
    store: Path, name: str, scopes: list[str], limit: int | None, says: str
) -> None:
    keys.make(store, "taken", ["chat"])
    before = store.read_text()
    with pytest.raises(UserError, match=says):
        keys.make(store, name, scopes, limit)
    assert store.read_text() == before


def test_writers_wait_for_each_other(store: Path) -> None:
    threads = [threading.Thread(target=keys.make, args=(store, f"k{at}", ["chat"])) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in keys.read(store)} == {f"k{at}" for at in range(8)}


def test_a_running_service_sees_changes(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    key, secret = keys.make(store, "crm", ["chat"])
    ring = keys.KeyFile(store)
    assert ring.find(secret) == key
    _, more = keys.make(store, "more", ["feedback"])
    found = ring.find(more)
    assert found is not None
    assert found.scopes == ("feedback",)
    keys.revoke(store, "crm")
    assert ring.find(secret) is None
    good = store.read_text()
    store.write_text("{")
    with caplog.at_level(logging.ERROR, "solotune.serve"):
        assert ring.find(more) is not None
        assert ring.find(more) is not None
    assert len(caplog.records) == 1
    store.write_text(good)
    store.chmod(0o600)
    assert ring.find(more) is not None
    store.unlink()
    assert ring.find(more) is None


def test_a_passing_key_leaves_no_trace(store: Path) -> None:
    keys.make(store, "crm", ["chat"])
    ring, before = keys.KeyFile(store), keys.read(store)
    with keys.passing(store, ["chat"]) as secret:
        assert ring.find(secret) is not None
    assert ring.find(secret) is None
    assert keys.read(store) == before


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"keys": [{"sha": "x"}]}', '{"keys": [{"sha256": "ab", "created": ""}]}']
)
def test_a_file_that_is_not_ours_is_an_error(store: Path, content: str) -> None:
    store.parent.mkdir()
    store.write_text(content)
    with pytest.raises(IntegrityError, match="delete it"):
        keys.read(store)


def test_a_file_of_an_earlier_version_holds_a_chat_key(store: Path) -> None:
    store.parent.mkdir()
    store.write_text(json.dumps({"keys": [{"sha256": keys.digest("k"), "created": "2026-11-01T00:00:00+00:00"}]}))
    found = keys.match("k", keys.read(store))
    assert found is not None
    assert found.scopes == ("chat",)


def test_a_file_that_others_may_write_is_refused(store: Path) -> None:
    keys.make(store, "crm", ["chat"])
    store.chmod(0o620)
    with pytest.raises(UserError, match="chmod 600"):
        keys.read(store)


def test_the_command_line(store: Path) -> None:
    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs.keys", "--file", str(store), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **variables})

    submitted = run("make", "crm", "--scopes", "chat", RAY_JOB_ID="01000000")  # Ray would keep what it prints
    assert (submitted.returncode, submitted.stdout) == (2, "")
    assert "without Ray" in submitted.stderr
    assert not store.exists()
    made = run("make", "crm", "--scopes", "chat,feedback", "--tokens-per-minute", "9000")
    assert made.returncode == 0
    (key,) = keys.read(store)
    assert keys.match(made.stdout.strip(), [key]) == key
    assert key.tokens_per_minute == 9000
    listed = run("list").stdout
    assert key.id in listed
    assert made.stdout.strip() not in listed
    assert run("revoke", "crm").stdout.strip() == f"revoked: {key.id}"
    again = run("revoke", "crm")
    assert again.returncode == 2
    assert again.stderr.startswith("keys: ")
