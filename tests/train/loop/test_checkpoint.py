"""Only what was written whole is ever resumed from."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.train.loop import checkpoint


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(b"w" * 1000)
    (folder / "state.json").write_text("{}")


def test_the_newest_is_found_and_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, step, "key", fill)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000015"]
    found, notes = checkpoint.newest(tmp_path, "key")
    assert found == checkpoint.Checkpoint(tmp_path / "step-00000015", 15)
    assert notes == []


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "manifest", "no manifest", "not a mapping"])
def test_a_damaged_one_is_passed_over_with_a_note(tmp_path: Path, damage: str) -> None:
    for step in (5, 10):
        checkpoint.save(tmp_path, step, "key", fill)
    newest = tmp_path / "step-00000010"
    match damage:
        case "cut":
            (newest / "weights").write_bytes(b"w" * 999)
        case "changed":
            (newest / "weights").write_bytes(b"w" * 999 + b"x")
        case "missing":
            (newest / "state.json").unlink()
        case "manifest":
            (newest / checkpoint.MANIFEST).write_text("{")
        case "no manifest":
            (newest / checkpoint.MANIFEST).unlink()
        case "not a mapping":
            (newest / checkpoint.MANIFEST).write_text("[]")
    found, notes = checkpoint.newest(tmp_path, "key")
    assert found is not None
    assert found.step == 5
    assert len(notes) == 1
    assert notes[0].startswith("step-00000010 passed over")


def test_one_of_another_training_is_not_resumed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 5, "key", fill)
    found, notes = checkpoint.newest(tmp_path, "another")
    assert found is None
    assert "other data, settings or formats" in notes[0]
    assert checkpoint.newest(tmp_path / "none", "key") == (None, [])


def test_a_writer_that_dies_leaves_no_checkpoint(tmp_path: Path) -> None:
    def die(folder: Path) -> None:
        fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 5, "key", die)
    assert checkpoint.newest(tmp_path, "key") == (None, [])
    checkpoint.save(tmp_path, 6, "key", fill)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000006"]


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="no space left"):
        checkpoint.save(tmp_path, 5, "key", full)
