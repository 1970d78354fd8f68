"""The event log holds whole lines in order, whatever the disk does, and is cut back to where a training goes on."""

from __future__ import annotations

import errno
import io
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.errors import StorageError
from pipeline.train import launch
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


def test_half_a_line_is_never_joined_to_a_whole_one(tmp_path: Path) -> None:
    made = begun(tmp_path)
    with made.path.open("ab") as stream:
        stream.write(b'{"step": 4, "lo')
    made.event(3, "worker_lost", "the driver's line after a kill")
    assert [line.get("event") for line in made.read()[-2:]] == ["save_failed", "worker_lost"]
    made.cut("key", 3)
    assert [line.get("event") for line in made.read()[-2:]] == ["save_failed", "worker_lost"]


# -- following --------------------------------------------------------------------------------------------------------


def until(met: Callable[[], bool]) -> None:
    """Waits until it is met, for ten seconds at most."""
    end = time.monotonic() + 10
    while not met() and time.monotonic() < end:
        time.sleep(0.01)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "EVERY", 0.02)


def test_every_line_is_handed_on_once_over_a_cut_and_a_half_written_one(tmp_path: Path, quick: None) -> None:
    made, taken = begun(tmp_path), list[Any]()
    with event_log.following(made, lambda line: taken.append((line["step"], line.get("event")))):
        for step in (4, 5):
            made.write({"step": step, "loss": 1.0})
        until(lambda: len(taken) == 2)
        made.write({"step": 6, "loss": 1.0})
        with made.path.open("ab") as stream:
            stream.write(b'{"step": 7, ')
        made.event(6, "worker_lost", "it died")
        made.cut("key", 4)  # at once: what was written since the last look is in the old file alone
        made.event(4, "resumed", "went on")
        made.write({"step": 5, "loss": 1.0})
        until(lambda: len(taken) == 6)
        with made.path.open("ab") as stream:
            stream.write(b'{"step": 6, ')
            stream.flush()
            time.sleep(0.1)
            stream.write(b'"loss": 1.0}\n')
    assert taken == [(4, None), (5, None), (6, None), (6, "worker_lost"), (4, "resumed"), (5, None), (6, None)]


def test_only_what_is_new_is_read(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made, taken, read = begun(tmp_path), list[int](), list[int]()
    parsed = event_log._parsed
    monkeypatch.setattr(event_log, "_parsed", lambda content: read.append(len(content)) or parsed(content))
    with event_log.following(made, lambda line: taken.append(line["step"])):
        start = sum(read)
        for step in range(4, 54):
            made.write({"step": step, "loss": 1.0})
            until(lambda wanted=step: taken[-1:] == [wanted])  # type: ignore[misc]
    assert taken == list(range(4, 54))
    assert sum(read) - start == made.path.stat().st_size - start


def test_a_file_that_another_training_begins_is_handed_on_from_its_start(tmp_path: Path, quick: None) -> None:
    made, taken = begun(tmp_path), list[int]()
    with event_log.following(made, lambda line: taken.append(line["step"])):
        made.cut("another", None)
        made.write({"step": 1, "loss": 1.0})
    later = EventLog(tmp_path / "later.jsonl")
    with event_log.following(later, lambda line: taken.append(line["step"])):
        later.cut("key", None)
        later.write({"step": 2, "loss": 1.0})
    assert taken == [1, 2]


def test_what_cannot_be_shown_is_told_once_and_ends_nothing(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    made, taken = begun(tmp_path), list[int]()

    def take(line: dict[str, Any]) -> None:
        if line["step"] in {5, 6}:
            raise RuntimeError("closing tag '[/INST]' at position 7")
        taken.append(line["step"])

    with event_log.following(made, take):
        for step in (4, 5, 6, 7):
            made.write({"step": step, "loss": 1.0})
    assert taken == [4, 7]
    told = "train: progress could not be shown: RuntimeError: closing tag '[/INST]' at position 7\n"
    assert capsys.readouterr().err == told


def test_an_answer_that_looks_like_markup_is_printed_as_it_is(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    made, said = begun(tmp_path), io.StringIO()
    with event_log.following(made, launch.teller(9, None, Console(file=said, width=200))):
        made.event(4, "samples", "the first begins: Sure [/INST] [bold]ask[/bold] \\[x]")
        made.write({"step": 5, "eval_loss": 1.0, "perplexity": math.e})
        made.write({"step": 9, "loss": 1.0, "seconds": 1.0, "tokens": 10})
    lines = said.getvalue().splitlines()
    assert lines[0] == "  step     4/9  the first begins: Sure [/INST] [bold]ask[/bold] \\[x]"
    assert [line.split()[1] for line in lines] == ["4/9", "5/9", "9/9"]
    assert capsys.readouterr().err == ""
