"""Trackers: every number of the event log arrives, a failing one costs nothing, a missing one is a sentence."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console

from pipeline.errors import MissingModelError
from pipeline.run import Run
from pipeline.train.loop import trackers
from pipeline.train.loop.event_log import EventLog

LINES: list[dict[str, Any]] = [
    {"step": 1, "loss": 2.5, "learning_rate": 1e-3, "tokens": 100},
    {"step": 1, "event": "resumed", "text": "went on"},
    {"step": 2, "loss": 2.0, "learning_rate": 5e-4, "tokens": 90},
    {"step": 2, "eval_loss": 1.9, "perplexity": None},
]


class Memory:
    made: ClassVar[list[Memory]] = []

    def __init__(self, project: Any, place: Path) -> None:
        self.place, self.closed, self.found = place, False, []  # type: ignore[var-annotated]
        Memory.made.append(self)

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.found.append((step, numbers))

    def close(self) -> None:
        self.closed = True


class Broken(Memory):
    def log(self, numbers: dict[str, float], step: int) -> None:
        raise OSError("no route to host")


@pytest.fixture
def event_log(tmp_path: Path) -> EventLog:
    made = EventLog(tmp_path / "lines.jsonl")
    made.cut("key", None)
    made.write({"step": 0, "loss": 9.0})  # of an earlier start: it was handed on then
    return made


def project(make_project: Any, *names: str) -> Any:
    return make_project(train={"trackers": list(names)})


def mirror(asked: Any, tmp_path: Path, event_log: EventLog) -> str:
    out = io.StringIO()
    with trackers.mirroring(asked, Run.open(str(tmp_path / "run")), event_log, Console(file=out, width=200)):
        for line in LINES:
            event_log.write(line)
    return out.getvalue()


def test_every_number_is_handed_on_once(
    make_project: Any, tmp_path: Path, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "made", [])
    monkeypatch.setitem(trackers.KINDS, "tensorboard", Memory)
    monkeypatch.setitem(trackers.KINDS, "mlflow", Broken)
    told = mirror(project(make_project, "tensorboard", "mlflow"), tmp_path, event_log)
    kept, broken = Memory.made
    assert kept.found == [
        (1, {"loss": 2.5, "learning_rate": 1e-3, "tokens": 100.0}),
        (1, {}),
        (2, {"loss": 2.0, "learning_rate": 5e-4, "tokens": 90.0}),
        (2, {"eval_loss": 1.9}),
    ]
    assert kept.closed
    assert kept.place == tmp_path / "run" / "logs" / "tensorboard"
    assert told.count("mlflow has stopped: OSError: no route to host") == 1
    assert not broken.closed


def test_none_asked_for_costs_no_thread_and_no_folder(make_project: Any, tmp_path: Path, event_log: EventLog) -> None:
    assert mirror(project(make_project), tmp_path, event_log) == ""
    assert not (tmp_path / "run" / "logs").exists()


def records(file: Path) -> list[bytes]:
    """Returns the records of a TensorBoard event file: length, checksum, content, checksum."""
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack("<Q", data[at : at + 8])
        found.append(data[at + 12 : at + 12 + size])
        at += 16 + size
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_files_hold_the_numbers(make_project: Any, tmp_path: Path, event_log: EventLog) -> None:
    from tensorboardX.proto.event_pb2 import Event

    mirror(project(make_project, "tensorboard"), tmp_path, event_log)
    (file,) = (tmp_path / "run" / "logs" / "tensorboard").iterdir()
    events = [Event.FromString(record) for record in records(file)]
    found = {(value.tag, event.step, value.simple_value) for event in events for value in event.summary.value}
    assert ("loss", 2, 2.0) in found
    assert {tag for tag, _, _ in found} == {"loss", "learning_rate", "tokens", "eval_loss"}


@pytest.mark.parametrize(("name", "package"), [("wandb-offline", "wandb"), ("mlflow", "mlflow")])
def test_a_missing_package_is_a_sentence_before_anything_starts(
    make_project: Any, tmp_path: Path, event_log: EventLog, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingModelError, match=f"pip install {package}"):
        mirror(project(make_project, name), tmp_path, event_log)


def test_wandb_offline_writes_a_run_to_be_synced(make_project: Any, tmp_path: Path, event_log: EventLog) -> None:
    pytest.importorskip("wandb")
    assert mirror(project(make_project, "wandb-offline"), tmp_path, event_log) == ""
    (folder,) = (tmp_path / "run" / "logs" / "wandb-offline" / "wandb").glob("offline-run-*")
    assert next(folder.glob("*.wandb")).stat().st_size > 100


@pytest.mark.filterwarnings("ignore")  # of its own database library, whose releases it does not wait for
def test_mlflow_keeps_the_metrics(make_project: Any, tmp_path: Path, event_log: EventLog) -> None:
    mlflow = pytest.importorskip("mlflow")
    assert mirror(project(make_project, "mlflow"), tmp_path, event_log) == ""
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/run/logs/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("test")
    (run,) = client.search_runs([experiment.experiment_id])
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")] == [2.5, 2.0]
    assert run.info.status == "FINISHED"
