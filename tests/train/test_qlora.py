"""The whole road through Ray Train: pack, train, export, and skip what is done."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.errors import ConfigError
from pipeline.export import merge
from pipeline.models import load
from pipeline.run import Run
from pipeline.train import qlora


@pytest.mark.ray
def test_train_and_export_and_skip(curated: Run, make_project: Any, ray_session: None) -> None:
    project = make_project(train={"epochs": 1, "recompute": False}, export={"dtype": "float32"})
    said = io.StringIO()
    metrics = qlora.train(project, curated, Console(file=said, width=120))
    assert metrics["evals"][-1]["loss"] < metrics["evals"][0]["loss"]
    assert [step["step"] for step in metrics["steps"]] == [1, 2, 3, 4]
    assert set(metrics["steps"][0]) == {"step", "loss", "learning_rate", "grad_norm", "tokens"}
    assert metrics["tokens_per_second"] > 0
    assert metrics["resumed_from"] is None
    assert "step     4/4  loss" in said.getvalue()
    adapter = curated.local(load.ADAPTER)
    assert {path.name for path in adapter.iterdir()} >= {"adapter_model.safetensors", "tokenizer.json"}
    assert curated.require("train")["outputs"].keys() >= {f"{load.ADAPTER}/adapter_model.safetensors", qlora.METRICS}
    assert all(base["passed"] for base in merge.export(project, curated, Console(quiet=True))["bases"].values())

    said = io.StringIO()
    assert qlora.train(project, curated, Console(file=said)) == metrics
    assert "finished before" in said.getvalue()


@pytest.mark.ray
def test_an_error_in_the_worker_reaches_the_caller(
    curated: Run, make_project: Any, tiny: Path, tmp_path: Path, ray_session: None
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    (base / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="cannot be loaded"):
        qlora.train(make_project(base=base), curated, Console(quiet=True))
