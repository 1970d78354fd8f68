"""Recomputing changes what is kept, not what is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.models import load
from pipeline.train import qlora
from pipeline.train.kernels import fused_lora, packed_attention
from pipeline.train.kernels.gradient_checkpointing import layers_of, recompute_layers


def step(tiny: Path, make_project: Any, depth: Any, fuse: bool = False) -> tuple[dict[str, Any], list[bool], int]:
    """Gradients of one step (with dropout unless fused), which layers recompute, and how often a layer ran forward."""
    import torch

    project = make_project(train={"lora": {"r": 4, "alpha": 8, "dropout": 0.0 if fuse else 0.2}, "recompute": depth})
    torch.manual_seed(3)
    causal, _ = load.Base.of(project, str(tiny)).load(attention=packed_attention.register())
    adapted = qlora.add_adapter(causal, project)
    if fuse:
        assert len(fused_lora.fuse(adapted)) == 8  # of two layers: q with k and v, o, gate with up, down
    adapted.train()
    runs = 0

    def count(*_: Any) -> None:
        nonlocal runs
        runs += 1

    for layer in layers_of(causal):
        layer.mlp.register_forward_pre_hook(count)
    ids = torch.arange(10, 40)[None]
    lengths = torch.tensor([0, 12, 30], dtype=torch.int32)
    torch.manual_seed(4)
    out = causal.get_decoder()(input_ids=ids, use_cache=False, cu_seq_lens_q=lengths, max_length_q=18)
    out.last_hidden_state.pow(2).sum().backward()
    grads = {name: p.grad for name, p in adapted.named_parameters() if p.grad is not None}
    return grads, [layer.gradient_checkpointing for layer in layers_of(causal)], runs


@pytest.mark.parametrize("fuse", [False, True])
def test_gradients_are_equal_with_no_some_and_all_layers_recomputed(tiny: Path, make_project: Any, fuse: bool) -> None:
    none, flags, runs = step(tiny, make_project, 0, fuse)
    assert (flags, runs) == ([False, False], 2)
    assert any(grad.abs().sum() > 0 for grad in none.values())
    for depth, expected in ((1, [True, False]), (2, [True, True]), (True, [True, True])):
        grads, flags, runs = step(tiny, make_project, depth, fuse)
        assert flags == expected
        assert runs == 2 + sum(expected)
        assert grads.keys() == none.keys()
        assert all((grads[name] == none[name]).all() for name in none)


def test_more_layers_than_there_are_is_a_sentence(tiny: Path, make_project: Any) -> None:
    causal, _ = load.Base.of(make_project(), str(tiny)).load()
    assert recompute_layers(causal, None) == 2
    with pytest.raises(ConfigError, match="3 layers, but this model has 2"):
        recompute_layers(causal, 3)
