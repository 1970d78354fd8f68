"""What of the attention on a GPU can be tried without one: rows and windows given to the kernel, models it takes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from pipeline.generation import Prompts, continuous, cpu_attention, cuda_attention, lock_step
from tests.generation.test_cpu_attention import SHAPE


def by_hand(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: Any, longest: Any, window: Any, scaling: Any
) -> torch.Tensor:
    """Returns what the kernel is documented to return."""
    ends = [each.tolist() for each in bounds]
    assert [max(b - a for a, b in itertools.pairwise(part)) for part in ends] == list(longest)
    rows = [each.transpose(0, 1)[None] for each in (query, key, value)]
    return cpu_attention.one_by_one(*rows, *bounds, window, scaling)[0]


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma3"])
def test_requests_are_kept_apart_and_windows_are_kept(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    monkeypatch.setattr(cuda_attention, "varlen", by_hand)
    monkeypatch.setattr(cuda_attention, "takes", lambda model: True)
    monkeypatch.setattr(cpu_attention, "install", cuda_attention.install)
    torch.manual_seed(0)
    window = {} if kind == "llama" else {"sliding_window": 8}
    layers = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]} if kind == "gemma3" else {}
    name = "gemma3_text" if kind == "gemma3" else kind
    config = AutoConfig.for_model(name, **{**SHAPE, "head_dim": 8, "initializer_range": 0.3, **window, **layers})
    model = AutoModelForCausalLM.from_config(config).eval()
    asked = Prompts([[5, 6, 7], [9] * 50 + [11, 4], list(range(10, 40)), [3]], [96], 0, 30)
    assert dict(continuous.answers(model, asked, 1 << 30)) == dict(lock_step.answers(model, asked))


def test_models_that_the_kernel_cannot_take_are_left_alone() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

    llama = LlamaForCausalLM(LlamaConfig(**SHAPE))
    assert not cuda_attention.takes(llama)  # float32
    assert cuda_attention.takes(llama.bfloat16())
    assert not cuda_attention.takes(LlamaForCausalLM(LlamaConfig(**{**SHAPE, "head_dim": 20})).bfloat16())
    assert not cuda_attention.takes(Gemma2ForCausalLM(Gemma2Config(**SHAPE, head_dim=8)).bfloat16())  # a softcap
