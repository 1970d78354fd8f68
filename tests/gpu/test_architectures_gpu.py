"""On a CUDA device, every architecture on the list: neighbours in a row do not touch an example, fused or not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.train.kernels import batches, delta_net, fused_lora, loss
from tests.train import tiny_models
from tests.train.kernels.test_architectures import adapted, gradients, row_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

WIDER = {"linear_key_head_dim": 32, "linear_value_head_dim": 32}
"""Heads that the kernels of the delta rule take."""
LENGTHS = (70, 9, 133)


def settings(name: str) -> dict[str, Any]:
    if name == "qwen3_5":
        return WIDER
    return {"global_head_dim": 512} if name == "gemma4" else {}  # too wide for the kernel that takes packed rows


def implementation(name: str) -> str:
    packs: Any = "gpu" if name == "qwen3_5" else "always"
    return batches.implementation(packs, "cuda")


def moved(row: dict[str, Any], device: Any) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in row.items()}


def last_loss(causal: Any, sequences: list[torch.Tensor]) -> float:
    """The loss of the last sequence in a row of all."""
    row = row_of(sequences)
    row["answers"] = row["answers"][row["answers"] >= sum(map(len, sequences[:-1]))]
    with torch.no_grad():
        return loss.row_loss(causal, moved(row, causal.device)).item()


@pytest.mark.parametrize("name", tiny_models.MODELS)
def test_other_words_before_an_example_change_nothing(name: str) -> None:
    causal = tiny_models.make(name, implementation(name), **settings(name)).to("cuda", torch.bfloat16)
    batches.prepare(causal)
    *before, last = tiny_models.sequences(*LENGTHS)
    others = [(ids + 7) % tiny_models.VOCABULARY for ids in before]
    together = last_loss(causal, [*before, last])
    assert last_loss(causal, [*others, last]) == pytest.approx(together, rel=1e-6)
    assert together == pytest.approx(last_loss(causal, [last]), rel=0.02)
    plain = tiny_models.make(name, **settings(name)).to("cuda", torch.bfloat16)
    assert together == pytest.approx(last_loss(plain, [last]), rel=0.02)


def of_a_row(whole: Any, fused: bool = False) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a row and its gradients, on the device that the model is on."""
    batches.prepare(whole.get_base_model())
    if fused:
        fused_lora.fuse(whole)
    row = moved(row_of(tiny_models.sequences(*LENGTHS)), whole.device)
    with torch.autocast(whole.device.type, torch.bfloat16, enabled=whole.get_base_model().dtype == torch.bfloat16):
        summed = loss.row_loss(whole.get_base_model(), row)
    summed.backward()
    return summed.item(), {name: gradient.float().cpu() for name, gradient in gradients(whole).items()}


def rounded(whole: Any, dtype: torch.dtype) -> Any:
    """The model with its base in bf16, in the memory of `dtype`; adapters stay in float32."""
    for name, parameter in whole.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.bfloat16().to(dtype)
    return whole


@pytest.mark.parametrize("name", tiny_models.MODELS)
def test_fused_layers_err_no_more_than_the_models_own(name: str) -> None:
    """Against float32 on the CPU: bf16 alone moves the gradients of so steep a model by a tenth."""
    truth = of_a_row(rounded(adapted(name, "sdpa", **settings(name)), torch.float32))
    plain, fused = (
        of_a_row(rounded(adapted(name, implementation(name), **settings(name)), torch.bfloat16).to("cuda"), fused)
        for fused in (False, True)
    )
    assert plain[0] == pytest.approx(truth[0], rel=0.02)
    assert fused[0] == pytest.approx(truth[0], rel=0.02)
    size, missed, by_fused = (
        torch.cat([(found[name] - truth[1][name] if found else truth[1][name]).flatten() for name in truth[1]]).norm()
        for found in (None, plain[1], fused[1])
    )
    assert by_fused <= 1.5 * missed + 0.05 * size


@pytest.mark.skipif(not delta_net.installed(), reason="flash-linear-attention is not installed")
def test_a_hybrid_is_packed_where_its_kernels_are() -> None:
    assert implementation("qwen3_5") == "packed"
