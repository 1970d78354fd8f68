"""Mirrors of the event log of a training, for people who watch elsewhere: TensorBoard, Weights & Biases, MLflow.

Output contract: `mirroring` follows the event log while a training runs and sends every number of every line, by step,
to the trackers of `train.trackers`. They write into the run folder, `logs/TRACKER/`, unless `wandb` or MLflow's own
`MLFLOW_TRACKING_URI` says where else. A tracker that fails is told and left out: no training is lost to it. A missing
package is a `MissingModelError` before anything starts.
The event log stays the truth; this module adds nothing to it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import MissingModelError, one_line
from pipeline.train.loop.event_log import EventLog, Line, following

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.run import Run

LOGS = "logs"
Numbers = dict[str, float]


class Tracker(Protocol):
    """Takes a step's numbers, and is closed once."""

    def log(self, numbers: Numbers, step: int) -> None:
        """Sends the numbers of a step."""

    def close(self) -> None:
        """Ends the run at the tracker."""


def _imported(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingModelError(f"train.trackers needs {package}: `pip install {package}`, or leave it out") from error


class TensorBoard:
    """Event files for `tensorboard --logdir RUN/logs/tensorboard`."""

    def __init__(self, project: Project, place: Path) -> None:
        self._writer = _imported("tensorboardX", "tensorboardX").SummaryWriter(str(place))

    def log(self, numbers: Numbers, step: int) -> None:
        """See `Tracker`."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


class Wandb:
    """A W&B run; offline, it waits in the folder for `wandb sync`."""

    mode = "online"

    def __init__(self, project: Project, place: Path) -> None:
        wandb = _imported("wandb", "wandb")
        place.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(silent=True, console="off")
        self._run = wandb.init(
            project=project.name, dir=str(place), mode=self.mode, config=project.model_dump(), settings=settings
        )

    def log(self, numbers: Numbers, step: int) -> None:
        """See `Tracker`."""
        self._run.log(numbers, step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()


class OfflineWandb(Wandb):
    mode = "offline"


class MLflow:
    """An MLflow run in the folder, or where `MLFLOW_TRACKING_URI` says."""

    def __init__(self, project: Project, place: Path) -> None:
        mlflow = _imported("mlflow", "mlflow")
        place.mkdir(parents=True, exist_ok=True)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{place / 'mlflow.db'}"
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = self._client.get_experiment_by_name(project.name)
        where = experiment.experiment_id if experiment else self._client.create_experiment(project.name)
        self._id = self._client.create_run(where).info.run_id
        for name, value in project.train.model_dump().items():
            self._client.log_param(self._id, name, value)

    def log(self, numbers: Numbers, step: int) -> None:
        """See `Tracker`."""
        for name, value in numbers.items():
            self._client.log_metric(self._id, name, value, step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._id)


KINDS: dict[str, Callable[[Project, Path], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "wandb-offline": OfflineWandb,
    "mlflow": MLflow,
}


@contextlib.contextmanager
def mirroring(project: Project, run: Run, event_log: EventLog, console: Console) -> Iterator[None]:
    """Follows the event log until the block ends; its last lines are still handed on."""
    places = {name: run.local(f"{LOGS}/{name}") for name in project.train.trackers}
    trackers: dict[str, Tracker] = {name: KINDS[name](project, place) for name, place in places.items()}

    def take(line: Line) -> None:
        for name in list(trackers):
            with _guarded(name, trackers, console) as tracker:
                tracker.log(numbers(line), line["step"])

    try:
        with following(event_log, take) if trackers else contextlib.nullcontext():
            yield
    finally:
        for name in list(trackers):
            with _guarded(name, trackers, console) as tracker:
                tracker.close()


@contextlib.contextmanager
def _guarded(name: str, trackers: dict[str, Tracker], console: Console) -> Iterator[Tracker]:
    """Lends a tracker; one that raises is told and left out. What these packages raise is theirs to choose."""
    try:
        yield trackers[name]
    except Exception as error:
        del trackers[name]
        text = f"train: {name} has stopped: {type(error).__name__}: {one_line(error)[:200]}"
        console.print(text, markup=False)


def numbers(line: Line) -> Numbers:
    """Returns what a line of the event log measured, without its step."""
    return {
        name: float(value)
        for name, value in line.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }
