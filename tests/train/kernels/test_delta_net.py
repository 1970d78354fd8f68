"""Gated delta nets: bounds reach the delta rule and the convolution, and without kernels no row is packed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.qwen3_5 import modeling_qwen3_5

from pipeline.train.kernels import batches, delta_net, loss, packed_attention
from tests.train import tiny_models
from tests.train.kernels.test_architectures import LENGTHS, adapted, each_alone, gradients, row_of


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for flash-linear-attention: a delta rule that begins anew at `cu_seqlens`. The convolution is ours."""
    rule = modeling_qwen3_5.torch_chunk_gated_delta_rule

    def heeding(*tensors: torch.Tensor, g: Any, beta: Any, cu_seqlens: torch.Tensor | None, **more: Any) -> Any:
        if cu_seqlens is None:
            return rule(*tensors, g=g, beta=beta, **more)
        sizes = cu_seqlens.diff().tolist()
        parts = [part.split(sizes, dim=1) for part in (*tensors, g, beta)]
        more.pop("seq_idx", None)
        made = [rule(*part[:3], g=part[3], beta=part[4], **more)[0] for part in zip(*parts, strict=True)]
        return torch.cat(made, dim=1), None

    monkeypatch.setattr(modeling_qwen3_5, "torch_chunk_gated_delta_rule", heeding)
    monkeypatch.setattr(modeling_qwen3_5, delta_net.FUNCTION, modeling_qwen3_5.causal_conv1d_fn)  # put back afterwards


def test_packed_rows_of_a_hybrid_do_not_see_each_other(kernels: None) -> None:
    packed_attention.register()
    sequences = tiny_models.sequences(*LENGTHS)
    whole = adapted("qwen3_5", packed_attention.NAME)
    delta_net.keep_apart(whole.get_base_model())
    summed = loss.row_loss(whole.get_base_model(), row_of(sequences))
    summed.backward()
    found = gradients(whole)
    expected, wanted = each_alone("qwen3_5", sequences)
    assert summed.item() == pytest.approx(expected, rel=1e-5)
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-6, name


def test_hybrids_are_packed_only_where_their_kernels_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert batches.implementation("always", "cpu") == packed_attention.NAME
    assert batches.implementation("never", "cuda") == "sdpa"
    monkeypatch.setattr(delta_net, "installed", lambda: True)
    assert batches.implementation("gpu", "cuda") == packed_attention.NAME
    assert batches.implementation("gpu", "cpu") == "sdpa"
    monkeypatch.setattr(delta_net, "installed", lambda: False)
    assert batches.implementation("gpu", "cuda") == "sdpa"


def test_only_models_with_such_layers_are_told_of_bounds() -> None:
    row = row_of(tiny_models.sequences(3, 4))
    assert "seq_idx" not in batches.arguments(tiny_models.make("olmo3", packed_attention.register()), row)
    given = batches.arguments(tiny_models.make("qwen3_5", packed_attention.register()), row)
    assert given["seq_idx"].tolist() == [[0, 0, 0, 1, 1, 1, 1]]


def test_a_graph_is_captured_only_where_no_kernel_hangs_on_a_rows_bounds() -> None:
    assert batches.is_one_graph(tiny_models.make("gemma4", packed_attention.register()))
    assert not batches.is_one_graph(tiny_models.make("gemma4", packed_attention.register(), global_head_dim=512))
    assert not batches.is_one_graph(tiny_models.make("qwen3_5", packed_attention.register()))
