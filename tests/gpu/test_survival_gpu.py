"""On a CUDA device: a training that really runs out of memory becomes more frugal and loses no step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import set_seed

from pipeline.config import Project
from pipeline.models import load
from pipeline.train import qlora
from pipeline.train.kernels import packed_attention
from pipeline.train.kernels.gradient_checkpointing import layers_of, recompute_layers
from pipeline.train.loop import trainer
from pipeline.train.loop.oom import OomFallback
from tests.gpu.test_train_gpu import base, rows  # noqa: F401  # a fixture

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

ROW = 16384


@pytest.fixture(autouse=True)
def whole_card() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    load.release()


def make_loop(place: Path, folder: Path) -> trainer.PackedTrainer:
    train = {"pack_tokens": ROW, "rows_per_step": 2, "epochs": 2, "recompute": 0, "lora": {"r": 4, "dropout": 0.0}}
    project = Project.model_validate({"name": "gpu", "base_model": str(place), "train": train})
    set_seed(0)
    causal, _ = load.Base.of(project, str(place)).load("nf4", "cuda", packed_attention.register())
    adapted = qlora.add_adapter(causal, project)
    folder.mkdir()
    layers = len(layers_of(causal))
    fallback = OomFallback(layers, 0, ROW, lambda count: recompute_layers(causal, count))
    table, none = rows(2000, ROW), rows(0, ROW)
    lines = folder / "lines.jsonl"
    return trainer.PackedTrainer(
        adapted, project.train, 0, table, none, folder / "checkpoints", "key", lines, fallback=fallback
    )


def losses(loop: trainer.PackedTrainer) -> list[float]:
    return [line["loss"] for line in loop.event_log.read() if "loss" in line]


def test_out_of_memory_steps_down_and_goes_on(base: Path, tmp_path: Path) -> None:  # noqa: F811
    first = make_loop(base, tmp_path / "whole")
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    first.run(None)
    needed = torch.cuda.max_memory_allocated() - held
    expected = losses(first)
    assert first.fallback.reached() is None
    del first
    load.release()

    short = make_loop(base, tmp_path / "short")
    load.release()
    limit = torch.cuda.memory_reserved() + needed // 2
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    short.run(None)
    told = [line["text"] for line in short.event_log.read() if line.get("event") == "out_of_memory"]
    assert told
    assert short.fallback.reached() is not None
    assert len(losses(short)) == len(expected)
    assert np.array(losses(short)) == pytest.approx(np.array(expected), rel=0.02)
