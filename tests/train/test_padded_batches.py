"""A hybrid on a CPU: its rows are batches grouped by length, and everything else of a training is as ever."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.models.load import Base
from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.data import pack
from tests.train import tiny_models
from tests.train.loops import Killed, lines, loop


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save("qwen3_5", tmp_path_factory.mktemp("base") / "hybrid")


def settings(**train: Any) -> dict[str, Any]:
    return {"quantise": None, "recompute": 0, "checkpoint_minutes": 1e-9, **train}


def test_a_resumed_training_repeats_the_interrupted_one(curated: Run, make_project: Any, hybrid: Path) -> None:
    project = make_project(base=hybrid, train=settings())
    said = io.StringIO()
    pack.pack(project, Base.of(project), curated, Console(file=said, width=200))
    counts = curated.read_json(pack.SUMMARY)["train"]
    assert f"by length: as batches they are {counts['padding']:.1%} padding" in said.getvalue()
    assert counts["padding"] < 0.1
    qlora.resume(curated, "key")
    loop(project, curated, attention="sdpa").train()
    whole = lines(curated)
    evals = [line["eval_loss"] for line in whole if "eval_loss" in line]
    assert evals[-1] < evals[0]
    assert sum(line["tokens"] for line in whole if "loss" in line) == 2 * counts["tokens"]

    curated.delete("checkpoints")
    qlora.resume(curated, "key")
    with pytest.raises(Killed):
        loop(project, curated, kill_after=5, attention="sdpa").train()
    loop(project, curated, attention="sdpa").run(qlora.resume(curated, "key"))
    assert lines(curated) == whole


@pytest.mark.ray
def test_the_whole_training_says_how_much_is_padding(
    curated: Run, make_project: Any, hybrid: Path, ray_session: None
) -> None:
    project = make_project(base=hybrid, train=settings(epochs=1, pack_tokens=256))
    metrics = qlora.train(project, curated, Console(quiet=True))
    assert metrics["padding"] == curated.read_json(pack.SUMMARY)["train"]["padding"]
    assert metrics["evals"][-1]["loss"] < metrics["evals"][0]["loss"]
