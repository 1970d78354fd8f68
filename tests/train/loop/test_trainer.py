"""The loop: it learns, it repeats itself bit for bit, and a resumed one repeats what was interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.data import pack
from pipeline.train.loop import checkpoint
from tests.train.loops import Killed, lines, loop


@pytest.mark.parametrize("quantise", ["nf4", None])
def test_a_resumed_training_repeats_the_interrupted_one(packed: Run, make_project: Any, quantise: str | None) -> None:
    # a checkpoint after every step; dropout is on, so the random state counts
    project = make_project(train={"quantise": quantise, "checkpoint_minutes": 1e-9, "recompute": quantise is None})
    loop(project, packed).train()
    whole = lines(packed)
    steps = [line for line in whole if "loss" in line]
    evals = [line for line in whole if "eval_loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 8))
    assert [line["step"] for line in evals] == [0, 4, 7]
    assert evals[-1]["eval_loss"] < evals[0]["eval_loss"]

    packed.delete("checkpoints")
    qlora.resume(packed, "key")
    with pytest.raises(Killed):
        loop(project, packed, kill_after=5).train()  # dies before its checkpoint of step 5
    (packed.local("checkpoints") / "step-00000099").mkdir()  # half-written
    found = qlora.resume(packed, "key")
    assert found is not None
    assert found.step == 4
    loop(project, packed).run(found)
    assert lines(packed) == whole


def test_checkpoints_come_with_time_and_at_the_end(packed: Run, make_project: Any) -> None:
    loop(make_project(), packed).train()
    found, _ = checkpoint.newest(packed.local("checkpoints"), "key")
    assert found is not None
    assert found.step == 7
    assert {path.name for path in packed.local("checkpoints").iterdir()} == {"best", "step-00000007"}
    names = {path.name for path in found.path.iterdir()}
    assert names >= {"adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}


def test_the_rate_warms_up_and_falls_to_nothing(packed: Run, make_project: Any) -> None:
    loop(make_project(train={"warmup_share": 0.3, "epochs": 4}), packed).train()
    rates = [line["learning_rate"] for line in lines(packed) if "loss" in line]
    peak = rates.index(max(rates))
    assert rates[0] > 0
    assert max(rates) == pytest.approx(5e-3)
    assert peak == 5
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_a_step_counts_its_real_tokens(packed: Run, make_project: Any) -> None:
    loop(make_project(train={"epochs": 1}), packed).train()
    summary = packed.read_json(pack.SUMMARY)["train"]
    assert sum(line["tokens"] for line in lines(packed) if "loss" in line) == summary["tokens"]


def test_evaluation_does_not_change_what_is_learnt(packed: Run, make_project: Any) -> None:
    loop(make_project(train={"eval_every": 1}), packed).train()
    often = [line for line in lines(packed) if "loss" in line]
    packed.delete("checkpoints")
    qlora.resume(packed, "key")
    loop(make_project(train={"eval_every": 100}), packed).train()
    assert [line for line in lines(packed) if "loss" in line] == often


def test_gradients_are_the_same_before_and_after_an_evaluation(packed: Run, make_project: Any) -> None:
    made = loop(make_project(train={"lora": {"r": 4, "alpha": 8, "dropout": 0.0}}), packed)
    row = made.rows[0]

    def gradients() -> dict[str, Any]:
        made.model.train()
        made.model.zero_grad()
        made.compute_loss(made.model, row, num_items_in_batch=1).backward()
        return {n: p.grad.clone() for n, p in made.model.named_parameters() if p.requires_grad}

    before = gradients()
    made.evaluate()
    after = gradients()
    assert all((before[name] == after[name]).all() for name in before)
    assert all(before[name].abs().sum() > 0 for name in before if "lora_B" in name)
    layers = [module for module in made.model.modules() if hasattr(module, "support_avx512bf16_for_cpu")]
    assert len(layers) == 14
    assert not any(module.support_avx512bf16_for_cpu for module in layers)


def test_a_row_that_cannot_be_captured_is_run_kernel_by_kernel(packed: Run, make_project: Any, tmp_path: Path) -> None:
    class Graph:
        captured = False

        def takes(self, _: Any) -> bool:
            return True

        def __call__(self, *_: Any) -> torch.Tensor:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    project = make_project(train={"epochs": 1})
    loop(project, packed).run(None)
    plain = lines(packed)
    other = Run.open(str(shutil.copytree(packed.uri, tmp_path / "again", ignore=shutil.ignore_patterns("checkpoints"))))
    other.delete("metrics/train.jsonl")
    loop(project, other, graph=Graph()).run(None)
    events = [line for line in qlora.read_lines(other) if line.get("event") == "not_captured"]
    assert [line["text"] for line in events] == [
        "rows are not captured as a CUDA graph: operation not permitted when stream is capturing"
    ]
    assert [line for line in lines(other) if "loss" in line] == [line for line in plain if "loss" in line]
