"""The driver's side, without Ray: what a worker that dies, stops or gives up becomes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from rich.console import Console

from pipeline import schema, waiting
from pipeline.config import Project
from pipeline.errors import DivergedError, PreemptedError, WorkerLostError
from pipeline.plan import resolve_auto
from pipeline.report.page import page
from pipeline.run import Run
from pipeline.train import launch, qlora
from pipeline.train.loop import trainer
from tests.small_model import make_rows

Once = Callable[..., BaseException | None]


@pytest.fixture
def make(make_project: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    """Makes projects that train for a few steps, in this process where no test says otherwise."""
    monkeypatch.setattr(resolve_auto, "find_card", lambda _: None)
    monkeypatch.setattr(waiting, "worker", lambda: {"CPU": 1})
    monkeypatch.setattr(waiting, "wait_for", lambda *_: None)
    monkeypatch.setattr(launch, "_once", here)

    def made(**train: Any) -> Project:
        return make_project(train={"quantise": None, "epochs": 1, "eval_every": 100, **train})

    return made


def here(work: launch.Work, settings: dict[str, Any], folder: Path, bundle: dict[str, float]) -> None:
    work({**settings, "threads": 1})


def dying(times: int) -> Once:
    """Stands for a worker that is killed so often before it does its work."""
    left = [times]

    def once(
        work: launch.Work, settings: dict[str, Any], folder: Path, bundle: dict[str, float]
    ) -> BaseException | None:
        if left[0]:
            left[0] -= 1
            return RuntimeError("the actor died\nwith a long story")
        return here(work, settings, folder, bundle)

    return once


def test_a_lost_worker_is_started_again_and_told(
    curated: Run, make: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_once", dying(3))
    said = io.StringIO()
    metrics = qlora.train(make(), curated, Console(file=said, width=120))
    assert [line["event"] for line in metrics["events"]] == ["worker_lost"] * 3
    assert [step["step"] for step in metrics["steps"]] == [1, 2, 3, 4]
    assert metrics["adapter_step"] == 4
    assert "the worker died after step 0 and is started again (3)" in said.getvalue()
    assert curated.manifest("train") is not None


def test_a_worker_lost_too_often_is_a_sentence(
    curated: Run, make: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_once", dying(2))
    with pytest.raises(WorkerLostError, match="died 2 times, at last after step 0: the actor died with a long story"):
        qlora.train(make(restarts=1), curated, Console(quiet=True))
    assert curated.manifest("train") is None


def test_a_process_that_is_gone_is_told_from_an_error_in_it() -> None:
    from ray.exceptions import ActorDiedError

    wrapped = RuntimeError("a worker health check failed")
    wrapped.health_check_failure = ActorDiedError()  # type: ignore[attr-defined]
    assert launch.died(wrapped)
    assert launch.died(ActorDiedError())
    assert launch.died(torch.AcceleratorError("CUDA error: unspecified launch failure"))
    assert not launch.died(RuntimeError("shapes do not match"))
    assert not launch.died(torch.OutOfMemoryError("CUDA out of memory"))


def test_no_worker_starts_while_a_notice_stands(curated: Run, make: Callable[..., Project], tmp_path: Path) -> None:
    (tmp_path / "notice").touch()
    with pytest.raises(PreemptedError, match=r"notice is there.*no worker is started"):
        qlora.train(make(preemption={"file": str(tmp_path / "notice")}), curated, Console(quiet=True))


def test_a_notice_while_it_trains_ends_the_job_and_the_next_one_goes_on(
    curated: Run, make: Callable[..., Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notice = tmp_path / "notice"
    project = make(preemption={"file": str(notice)})
    clip = trainer.PackedTrainer._clip_grad_norm

    def spy(self: trainer.PackedTrainer, model: Any) -> Any:
        if self.state.global_step == 1:
            notice.touch()
        return clip(self, model)

    monkeypatch.setattr(trainer.PackedTrainer, "_clip_grad_norm", spy)
    with pytest.raises(PreemptedError, match="step 2 of 4 is saved"):
        qlora.train(project, curated, Console(quiet=True))
    assert curated.manifest("train") is None
    assert not curated.exists(qlora.METRICS)
    notice.unlink()
    metrics = qlora.train(make(checkpoint_minutes=1), curated, Console(quiet=True))  # not another training
    assert [step["step"] for step in metrics["steps"]] == [1, 2, 3, 4]
    assert metrics["resumed_from"] == 2
    assert [line["event"] for line in metrics["events"]] == ["preempted", "resumed"]


def test_a_diverged_training_is_reported_and_not_finished(
    curated: Run, make: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_loss = trainer.PackedTrainer.compute_loss

    def spoilt(*arguments: Any, **options: Any) -> torch.Tensor:
        return compute_loss(*arguments, **options) * math.nan

    monkeypatch.setattr(trainer.PackedTrainer, "compute_loss", spoilt)
    said = io.StringIO()
    with pytest.raises(DivergedError, match="the training diverged"):
        qlora.train(make(epochs=4), curated, Console(file=said, width=120))
    assert curated.manifest("train") is None
    assert not curated.exists("model/adapter")
    metrics = curated.read_json(qlora.METRICS)
    assert metrics["adapter_step"] is None
    html = page("demo", {"train": metrics})
    assert "Not finished: the training diverged" in html
    assert "went wrong again after every rollback" in html
    assert "loss not finite" in said.getvalue()


def test_another_setting_begins_anew_and_says_so(curated: Run, make: Callable[..., Project]) -> None:
    qlora.train(make(), curated, Console(quiet=True))
    metrics = qlora.train(make(learning_rate=1e-3), curated, Console(quiet=True))
    assert metrics["steps"][0]["learning_rate"] < 1e-3
    (told,) = metrics["events"]
    assert told["text"].startswith(
        "began anew; step-00000004 passed over: it belongs to other data, settings or formats"
    )


def test_samples_of_a_validation_set_of_documents_are_one_sentence(curated: Run, make: Callable[..., Project]) -> None:
    stage = curated.begin("curate", "of documents")
    for split in ("train", "val", "golden"):
        rows = [{**row, "kind": "document"} for row in make_rows(split, 12)]
        curated.put(stage, f"data/{split}/00000.parquet", pa.Table.from_pylist(rows, schema=schema.RECORD))
    curated.commit(stage, {}, {})
    said = io.StringIO()
    metrics = qlora.train(make(samples=2), curated, Console(file=said, width=120))
    (told,) = metrics["events"]
    assert told["text"] == "train.samples: the validation set has no question to answer"
    assert told["text"] in said.getvalue()
    assert told["text"] in page("demo", {"train": metrics})
    assert metrics["evals"]
