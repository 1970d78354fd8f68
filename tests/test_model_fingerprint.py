"""The fingerprint of a model: what it follows, what it ignores, and when a file is read again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import model_fingerprint as module
from pipeline.model_fingerprint import model_fingerprint

BIG = 40 << 20
AGO = 1_700_000_000_000_000_000  # nanoseconds: a time at which no test runs


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_digests", {})
    monkeypatch.setattr(module, "SETTLED", -60.0)  # seconds: as if every file had been there for a minute
    return tmp_path / "cache" / "solotune" / "digests"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read whole."""
    names: list[str] = []
    whole: Callable[..., Any] = hashlib.file_digest

    def counting(stream: Any, kind: str) -> Any:
        names.append(Path(stream.name).name)
        return whole(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return names


def write_model(folder: Path, size: int = BIG) -> Path:
    (folder / "vocab").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "vocab" / "strings.json").write_text("[]")
    with (folder / "model.safetensors").open("wb") as stream:
        stream.truncate(size)
    return folder


def change(path: Path, at: int = -1) -> None:
    """Changes one byte; size and inode stay."""
    with path.open("r+b") as stream:
        stream.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        stream.write(b"x")


def test_two_models_that_differ_in_their_last_byte_have_two_fingerprints(tmp_path: Path) -> None:
    one, other = write_model(tmp_path / "one"), write_model(tmp_path / "other")
    assert model_fingerprint(str(one)) == model_fingerprint(str(other))
    change(other / "model.safetensors")
    assert model_fingerprint(str(one)) != model_fingerprint(str(other))


def test_every_file_counts_with_its_path_but_for_notes(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", 10)
    before = model_fingerprint(str(folder))
    for name in ("README.md", ".cache/download.metadata", "__pycache__/build.pyc"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert model_fingerprint(str(folder)) == before
    (folder / "vocab" / "strings.json").rename(folder / "strings.json")
    assert model_fingerprint(str(folder)) != before


def test_a_file_is_a_model_and_any_other_name_its_own_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "lid.bin").write_text("1")
    before = model_fingerprint(str(tmp_path / "lid.bin"))
    (tmp_path / "lid.bin").write_text("2")
    assert model_fingerprint(str(tmp_path / "lid.bin")) != before
    assert model_fingerprint("org/model") == "org/model"


def test_a_large_file_is_read_once_by_this_process_and_the_next(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write_model(tmp_path / "model"))
    first = model_fingerprint(folder)
    assert model_fingerprint(folder) == first
    monkeypatch.setattr(module, "_digests", {})  # another process
    assert model_fingerprint(folder) == first
    assert reads == ["model.safetensors"]
    assert sorted(path.read_text() for path in (tmp_path / "cache").rglob("*") if path.is_file()) == [
        hashlib.sha256(bytes(BIG)).hexdigest()
    ]


def test_a_changed_file_is_read_again_though_its_size_and_time_are_as_before(tmp_path: Path, reads: list[str]) -> None:
    weights = write_model(tmp_path / "model") / "model.safetensors"
    os.utime(weights, ns=(AGO, AGO))
    before = model_fingerprint(str(tmp_path / "model"))
    time.sleep(0.02)  # longer than a tick of the filesystem's clock
    change(weights, at=30 << 20)
    os.utime(weights, ns=(AGO, AGO))  # as `cp -p` and `rsync -t` set it
    assert model_fingerprint(str(tmp_path / "model")) != before
    assert len(reads) == 2


def test_what_has_just_been_written_is_not_remembered(
    tmp_path: Path, cache: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED", 3600.0)
    folder = str(write_model(tmp_path / "model"))
    assert model_fingerprint(folder) == model_fingerprint(folder)
    assert len(reads) == 2
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "not a digest"])
def test_a_damaged_cache_is_not_believed(
    content: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write_model(tmp_path / "model"))
    before = model_fingerprint(folder)
    for path in cache.iterdir():
        path.write_text(content)
    monkeypatch.setattr(module, "_digests", {})
    assert model_fingerprint(folder) == before


def test_without_a_cache_folder_a_process_reads_once(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = str(write_model(tmp_path / "model"))
    assert model_fingerprint(folder) == model_fingerprint(folder)
    assert len(reads) == 1
