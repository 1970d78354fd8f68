"""The loss equals plain cross-entropy on the supervised tokens, in value and in gradient."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.models.template import IGNORED
from pipeline.train.kernels import loss


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [90, 1 << 20])
def test_chunked_loss_is_cross_entropy(bias: bool, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK", chunk)
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 30, bias=bias)
    hidden = torch.randn(20, 8, requires_grad=True)
    labels = torch.randint(0, 30, (20,))
    labels[torch.rand(20) < 0.5] = IGNORED
    labels[0] = IGNORED
    ours = loss.answer_loss(hidden, labels, loss.answers(labels), head)
    ours.backward()
    gradient, hidden.grad = hidden.grad, None
    plain = torch.nn.functional.cross_entropy(head(hidden[:-1]), labels[1:], reduction="sum", ignore_index=IGNORED)
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


def test_a_model_that_changes_its_logits_is_refused() -> None:
    loss.check_head(SimpleNamespace(model_type="llama", logit_scale=1.0, final_logit_softcapping=None))
    with pytest.raises(ConfigError, match="gemma2 changes its logits"):
        loss.check_head(SimpleNamespace(model_type="gemma2", final_logit_softcapping=30.0))
