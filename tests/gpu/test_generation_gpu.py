"""Answers of a model in memory on a GPU: as transformers' `generate` but for rounding, with and without CUDA graphs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.config import ASSETS
from pipeline.generation import Prompts, Sampling, batching, continuous, cuda_attention, limits, lock_step
from pipeline.models.load import Base

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def model() -> Any:
    folder = ASSETS / "tiny-base"
    return Base("tiny-base", folder, None, folder).load(device="cuda")[0]


def prompts(sampling: Sampling | None = None) -> Prompts:
    ids = [[1, *range(300 + number, 310 + 3 * number)] for number in range(80)]
    return Prompts(ids, [3], 0, 64, sampling)


def alike(one: dict[int, list[int]], other: dict[int, list[int]]) -> float:
    """Returns the share of answers whose first eight tokens are equal: in 16 bits later ones may part."""
    assert one.keys() == other.keys()
    return sum(one[key][:8] == other[key][:8] for key in one) / len(one)


@pytest.mark.parametrize("graphs", [True, False])
def test_answers_are_those_of_generate(model: Any, graphs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = continuous.limits
    monkeypatch.setattr(continuous, "limits", lambda *given: replace(real(*given), graphs=graphs))
    got = dict(continuous.answers(model, prompts(), 1 << 33))
    assert alike(got, dict(lock_step.answers(model, prompts()))) > 0.9
    assert model.config._attn_implementation == "sdpa"


def test_the_kernel_takes_the_model_and_graphs_are_used(model: Any) -> None:
    assert cuda_attention.takes(model)
    batch = batching.Batch(model, limits.Limits(4, 16, 256, graphs=True), [3], 0, lambda step: None, greedy=True)
    try:
        assert model.config._attn_implementation == cuda_attention.NAME
        assert batch._manager.continuous_batching_config.cuda_graph_booleans[0]
    finally:
        batch.stop()


def test_seeds_draw_the_same_again(model: Any) -> None:
    sampling = Sampling(1.0, 0.9, list(range(80)))
    first = dict(continuous.answers(model, prompts(sampling), 1 << 33))
    assert alike(first, dict(continuous.answers(model, prompts(sampling), 1 << 33))) > 0.9
    assert alike(first, dict(continuous.answers(model, prompts(), 1 << 33))) < 0.9
