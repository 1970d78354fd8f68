"""Cross-entropy on the supervised tokens only, without ever holding the logits of a whole row.

Output contract: `answer_loss` returns the *sum* over supervised tokens (natural logarithm), in float32; the caller
divides by how many there are in the optimiser step. Unsupervised positions never reach the output matrix. Logits are
computed once, some rows at a time, and their gradient right with them (as liger-kernel's fused loss does, whose host
code waits for the device; this one does not).
This module does not train the output matrix: it gets no gradient.
"""

from __future__ import annotations

from typing import Any

import torch

from pipeline.errors import ConfigError
from pipeline.models.template import IGNORED

CHUNK = 1 << 25
"""Logits held at once: 128 MiB in float32."""


def check_head(config: Any) -> None:
    """Raises `ConfigError` for a model that does something to its logits which this loss would leave out."""
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        value = getattr(config, name, None)
        if value is not None and float(value) != 1.0:
            raise ConfigError(f"base_model: {config.model_type} changes its logits ({name}); it cannot be trained here")


def supervised(labels: torch.Tensor) -> int:
    """Counts the supervised tokens of one packed row; `labels` is (tokens,)."""
    return int((labels[1:] != IGNORED).sum())


def answers(labels: torch.Tensor) -> torch.Tensor:
    """Returns the positions that predict a supervised token, (supervised,), of one packed row's `labels` (tokens,).

    To be called on the host: a device would have to finish its work before it can tell how many there are.
    """
    return (labels[1:] != IGNORED).nonzero(as_tuple=True)[0]


def row_loss(causal: Any, row: dict[str, Any]) -> torch.Tensor:
    """Returns the summed cross-entropy of one packed row, as `trainer.PackedRows` gives it, by a causal model."""
    hidden = causal.get_decoder()(
        input_ids=row["input_ids"],
        position_ids=row["position_ids"],
        use_cache=False,
        cu_seq_lens_q=row["cu_seq_lens_q"],
        max_length_q=row["max_length_q"],
    ).last_hidden_state
    return answer_loss(hidden[0], row["labels"][0], row["answers"], causal.get_output_embeddings())


def answer_loss(hidden: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor, head: torch.nn.Module) -> torch.Tensor:
    """Returns the summed cross-entropy of one packed row, a float32 scalar.

    `hidden` is (tokens, width), the model's last hidden states; `labels` is (tokens,), not shifted: position i is
    predicted from i - 1; `rows` are its `answers`. The first token of every sequence is unsupervised, so no sequence
    predicts the next one.
    """
    bias = None if getattr(head, "bias", None) is None else head.bias.detach()
    return _Summed.apply(hidden[rows].to(head.weight.dtype), labels[rows + 1], head.weight.detach(), bias)


class _Summed(torch.autograd.Function):  # type: ignore[misc]  # torch is not followed
    """Summed cross-entropy of linear(states); the gradient of the states is computed with it."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        total = states.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        step = max(1, CHUNK // len(weight))
        for start in range(0, len(states), step):
            part, target = states[start : start + step], targets[start : start + step, None]
            logits = torch.nn.functional.linear(part, weight, bias).float()
            norm = logits.logsumexp(1, keepdim=True)
            total += (norm - logits.gather(1, target)).sum()
            if gradient is not None:
                logits.sub_(norm).exp_()
                logits.scatter_add_(1, target, logits.new_full((1, 1), -1.0).expand_as(target))
                torch.mm(logits.to(weight.dtype), weight, out=gradient[start : start + step])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None, None
