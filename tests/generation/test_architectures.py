"""Continuous batching gives the answers of `generate`, or says that it cannot: by architecture, with random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.generation import Prompts, batching, continuous, lock_step
from tests.generation.test_cpu_attention import SHAPE

HALF = ["sliding_attention", "full_attention"]
TAKEN: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 8},
    "ministral3": {},
    "qwen3": {},
    "gemma3_text": {"sliding_window": 8, "layer_types": HALF * 2},
    "phi3": {},
    "olmo3": {"sliding_window": 8},
    "smollm3": {},
    "granite": {},
}
REFUSED = {
    "gemma4_text": (  # heads of two sizes
        {"layer_types": HALF * 2, "global_head_dim": 16, "hidden_size_per_layer_input": 8},
        "does not run in continuous batching",
    ),
    "lfm2": ({"layer_types": ["conv", "full_attention"] * 2}, "Invalid layer type: conv"),
    "qwen3_5_text": ({}, "keeps a state"),
    "bloom": ({}, "has an attention of its own"),  # ALiBi
    "gpt2": ({}, "a step of continuous batching failed"),
}


def model_of(name: str, extra: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    shape = {**SHAPE, "num_hidden_layers": 4, "head_dim": 8, "initializer_range": 0.3, "eos_token_id": 96}
    if name == "gemma4_text":
        shape["vocab_size_per_layer_input"] = 97
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **{**shape, **extra})).eval()


ASKED = Prompts([[5, 6, 7], [9] * 50 + [11, 4], list(range(10, 40)), [3]], [96], 0, 30)


@pytest.mark.parametrize("name", TAKEN)
def test_answers_are_those_of_generate(name: str) -> None:
    model = model_of(name, TAKEN[name])
    wanted = dict(lock_step.answers(model, ASKED))
    assert len({tuple(ids) for ids in wanted.values()}) == 4
    assert dict(continuous.answers(model, ASKED, 1 << 30)) == wanted


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_batched_says_so(name: str) -> None:
    extra, sentence = REFUSED[name]
    model = model_of(name, extra)
    with pytest.raises(batching.BatchError, match=sentence):
        list(continuous.answers(model, ASKED, 1 << 30))
    assert model.config._attn_implementation in ("sdpa", "eager")
