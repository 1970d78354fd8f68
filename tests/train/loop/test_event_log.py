"""The event log holds whole lines in order, whatever the disk does, and is cut back to where a training goes on."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StorageError
from pipeline.train.loop import event_log
from pipeline.train.loop.event_log import EventLog


def begun(tmp_path: Path) -> EventLog:
    made = EventLog(tmp_path / "metrics" / "train.jsonl")
    made.cut("key", None)
    for step in (1, 2, 3):
        made.write({"step": step, "loss": 1.0})
    made.event(2, "skipped", "not taken")
    made.event(3, "save_failed", "full")
    return made


def test_cutting_back_leaves_what_is_not_repeated(tmp_path: Path) -> None:
    made = begun(tmp_path)
    made.cut("key", 1)
    assert [(line["step"], line.get("event")) for line in made.read()] == [(1, None), (3, "save_failed")]
    made.cut("key", None)
    assert [line.get("event") for line in made.read()] == ["save_failed"]
    made.cut("another", 3)
    assert made.read() == []
    assert event_log.read(made.path) == [{"key": "another"}]


def test_cutting_back_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    made = begun(tmp_path)
    (made.path.parent / ".train.jsonl.0123abcd.tmp").write_text("half")
    made.cut("key", 2)
    assert [path.name for path in made.path.parent.iterdir()] == ["train.jsonl"]


def test_a_last_line_cut_short_is_left_out_and_the_next_stands_alone(tmp_path: Path) -> None:
    made = begun(tmp_path)
    with made.path.open("ab") as stream:
        stream.write(b'{"step": 4, "lo')
    assert made.read()[-1]["step"] == 3
    made.cut("key", 3)
    made.write({"step": 4, "loss": math.nan})
    assert made.read()[-1] == {"step": 4, "loss": None}
    assert all(json.loads(line) for line in made.path.read_text().splitlines())


@pytest.mark.parametrize("half", [True, False])
def test_what_a_full_disk_refuses_is_written_later(tmp_path: Path, half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun(tmp_path)
    before = made.path.read_bytes()
    opened = Path.open

    class Full:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

        def write(self, data: bytes) -> int:
            written: int = self.stream.write(data[: len(data) // 2])
            if half:
                return written
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, *args, **options: Full(opened(self, *args, **options)))
        made.write({"step": 4, "loss": 1.0})
        made.write({"step": 5, "loss": 1.0})
        assert made.path.read_bytes() == before
        with pytest.raises(StorageError, match="no space left"):
            made.flush()
    made.flush()
    assert [line["step"] for line in made.read()] == [1, 2, 3, 2, 3, 4, 5]
