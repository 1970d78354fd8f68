"""The loss equals plain cross-entropy on the supervised tokens, in value and in gradient."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.models.template import IGNORED
from pipeline.train.kernels import loss, packed_attention
from tests.train import tiny_models

CHANGES = [loss.Logits(), loss.Logits(scale=0.25), loss.Logits(cap=1.5), loss.Logits(scale=3.0, cap=2.0)]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [90, 1 << 20])
def test_chunked_loss_is_cross_entropy(
    bias: bool, chunk: int, change: loss.Logits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "CHUNK", chunk)
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 30, bias=bias)
    hidden = torch.randn(20, 8, requires_grad=True)
    labels = torch.randint(0, 30, (20,))
    labels[torch.rand(20) < 0.5] = IGNORED
    labels[0] = IGNORED
    ours = loss.answer_loss(hidden, labels, loss.answers(labels), head, change)
    ours.backward()
    gradient, hidden.grad = hidden.grad, None
    logits = change.scale * head(hidden[:-1])
    if change.cap is not None:
        logits = change.cap * torch.tanh(logits / change.cap)
    plain = torch.nn.functional.cross_entropy(logits, labels[1:], reduction="sum", ignore_index=IGNORED)
    plain.backward()
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(gradient, hidden.grad)
    assert head.weight.grad is not None  # of the plain loss; ours gave it none
    assert loss.supervised(labels) == int((labels != IGNORED).sum())


def test_a_row_without_supervised_tokens_costs_nothing() -> None:
    hidden, labels = torch.randn(4, 8, requires_grad=True), torch.full((4,), IGNORED)
    total = loss.answer_loss(hidden, labels, loss.answers(labels), torch.nn.Linear(8, 5))
    total.backward()
    assert total == 0


@pytest.mark.parametrize("name", ["llama", "gemma4", "granite", "granite4"])
def test_what_a_model_does_to_its_logits_is_known(name: str) -> None:
    loss.check_head(tiny_models.make(name))
    loss.check_head(tiny_models.make(name, packed_attention.register()))


def test_a_model_that_changes_its_logits_otherwise_is_refused() -> None:
    """HyperCLOVA X multiplies by what Granite divides by."""
    from transformers import HyperCLOVAXConfig, HyperCLOVAXForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = HyperCLOVAXConfig(vocab_size=40, num_key_value_heads=2, logits_scaling=2.0, pad_token_id=0, **sizes)
    with pytest.raises(ConfigError, match="hyperclovax changes its logits"):
        loss.check_head(HyperCLOVAXForCausalLM(config))
