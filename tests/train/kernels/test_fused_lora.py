"""The fused LoRA layers compute what peft's own do, forwards and backwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.models import load
from pipeline.train.kernels import fused_lora

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def adapted(targets: Any, quantised: bool, device: str, **lora: Any) -> Any:
    """A random two-layer Mistral with an adapter whose B is not zero; the same numbers at every call."""
    from peft import LoraConfig, get_peft_model
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4}
    causal = MistralForCausalLM(MistralConfig(vocab_size=96, num_key_value_heads=2, **sizes))
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    causal = causal.to(dtype)
    if quantised:
        quantise(causal, dtype)
    causal = causal.to(device)
    with load.quiet_peft():
        whole = get_peft_model(
            causal,
            LoraConfig(
                r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM", **{"lora_dropout": 0.0, **lora}
            ),
        )
    torch.manual_seed(1)
    for name, parameter in whole.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(torch.randn(parameter.shape) * 0.1)
    return whole


def quantise(causal: Any, dtype: torch.dtype) -> None:
    """Replaces the layers' linear modules by NF4 ones, double-quantised, as `from_pretrained` does."""
    import bitsandbytes as bnb

    for parent in list(causal.model.layers.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear:
                layer = bnb.nn.Linear4bit(
                    child.in_features, child.out_features, False, dtype, compress_statistics=True, quant_type="nf4"
                )
                layer.weight = bnb.nn.Params4bit(
                    child.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
                )
                layer.support_avx512bf16_for_cpu = False
                setattr(parent, name, layer.to("cpu"))


def gradients(whole: Any, device: str) -> tuple[float, dict[str, torch.Tensor]]:
    ids = torch.randint(0, 96, (1, 40), generator=torch.Generator().manual_seed(2)).to(device)
    with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
        loss = whole(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.item(), {name: p.grad.float() for name, p in whole.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear", ["up_proj"], ["k_proj", "down_proj"]])
def test_loss_and_gradients_equal_pefts(targets: Any, quantised: bool, device: str) -> None:
    plain, ours = adapted(targets, quantised, device), adapted(targets, quantised, device)
    assert len(fused_lora.fuse(ours)) == 2 * 4  # of each layer q with k and v, o, gate with up, down
    (loss, wanted), (our_loss, found) = gradients(plain, device), gradients(ours, device)
    close = 2e-5 if device == "cpu" else 6e-2  # bf16 has 8 bits, and each side rounds where it likes
    assert our_loss == pytest.approx(loss, rel=close)
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= close * gradient.norm(), name


def test_it_works_under_recomputation() -> None:
    plain, ours = adapted("all-linear", False, "cpu"), adapted("all-linear", False, "cpu")
    fused_lora.fuse(ours)
    causal = ours.get_base_model()
    enable = getattr(causal, "activation_checkpointing_enable", None) or causal.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    ours.train()
    (_, wanted), (_, found) = gradients(plain, "cpu"), gradients(ours, "cpu")
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("option", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_what_it_does_not_know_it_leaves_alone(option: dict[str, Any]) -> None:
    plain, ours = (adapted(["q_proj", "gate_proj"], False, "cpu", **option).eval() for _ in range(2))
    assert fused_lora.fuse(ours) == []
    (loss, _), (our_loss, _) = gradients(plain, "cpu"), gradients(ours, "cpu")
    assert our_loss == pytest.approx(loss, rel=1e-5)


def test_adapters_that_have_moved_are_cast_again() -> None:
    plain, ours = adapted("all-linear", False, "cpu"), adapted("all-linear", False, "cpu")
    fused_lora.fuse(ours)
    for whole in (plain, ours):
        gradients(whole, "cpu")
        torch.optim.SGD(whole.parameters(), lr=1.0).step()
    assert gradients(ours, "cpu")[0] == pytest.approx(gradients(plain, "cpu")[0], rel=1e-5)


def test_the_base_alone_is_refused() -> None:
    whole = adapted("all-linear", False, "cpu")
    fused_lora.fuse(whole)
    with whole.disable_adapter(), pytest.raises(RuntimeError, match="load it anew"):
        whole(input_ids=torch.zeros(1, 3, dtype=torch.long))
