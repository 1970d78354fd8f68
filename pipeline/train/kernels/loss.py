"""Cross-entropy on the supervised tokens only, without ever holding the logits of a whole row.

Output contract: `answer_loss` returns the *sum* over supervised tokens (natural logarithm), in float32; the caller
divides by how many there are in the optimiser step. Unsupervised positions never reach the output matrix. Logits are
computed once, some rows at a time, and their gradient right with them (as liger-kernel's fused loss does, whose host
code waits for the device; this one does not).
What a model does to its logits (Gemma caps them, Granite divides) is part of the loss and of its gradient.
This module does not train the output matrix: it gets no gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pipeline.errors import ConfigError
from pipeline.models.template import IGNORED
from pipeline.train.kernels import batches

CHUNK = 1 << 25
"""Logits held at once: 128 MiB in float32."""


class Logits(NamedTuple):
    """What a model does to its logits: `scale` times each, then `cap` * tanh(logit / cap)."""

    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, config: Any) -> Logits:
        """Reads it from a model's configuration: Gemma caps, Granite divides, Cohere multiplies."""
        text = config.get_text_config()
        divisor, factor = getattr(text, "logits_scaling", None), getattr(text, "logit_scale", None)
        cap = getattr(text, "final_logit_softcapping", None)
        return cls(float(factor or 1.0) / float(divisor or 1.0), None if cap is None else float(cap))

    def apply_(self, logits: torch.Tensor) -> torch.Tensor | float:
        """Changes the output matrix's products in place; returns the slope at each, or the one of all."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.cap is None:
            return self.scale
        logits.div_(self.cap).tanh_()
        slope = (1 - logits.square()).mul_(self.scale)
        logits.mul_(self.cap)
        return slope


def check_head(causal: Any) -> None:
    """Raises `ConfigError` for a model that does something else to its logits than its configuration tells `Logits`:
    some multiply by what others divide by."""
    length = 8
    ids = torch.arange(1, length + 1, device=causal.device)[None]
    row = {"input_ids": ids, "position_ids": ids - 1, "max_length_q": length}
    row["cu_seq_lens_q"] = torch.tensor([0, length], dtype=torch.int32, device=causal.device)
    given = batches.arguments(causal, row)
    with torch.no_grad():
        states = causal.get_decoder()(**given).last_hidden_state
        ours = causal.get_output_embeddings()(states).float()
        Logits.of(causal.config).apply_(ours)
        theirs = causal(**given).logits.float()
    if (ours - theirs).norm() > 0.05 * theirs.norm():  # bf16 alone makes less than 0.01
        raise ConfigError(f"base_model: {causal.config.model_type} changes its logits; it cannot be trained here")


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
    states = causal.get_decoder()(**batches.arguments(causal, row)).last_hidden_state
    hidden = batches.in_row(causal, row, states)
    change = Logits.of(causal.config)
    return answer_loss(hidden, row["labels"][0], row["answers"], causal.get_output_embeddings(), change)


def answer_loss(
    hidden: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor, head: torch.nn.Module, change: Logits | None = None
) -> torch.Tensor:
    """Returns the summed cross-entropy of one packed row, a float32 scalar.

    `hidden` is (tokens, width), the model's last hidden states; `labels` is (tokens,), not shifted: position i is
    predicted from i - 1; `rows` are its `answers`; `change` is what the model does to its logits. The first token of
    every sequence is unsupervised, so no sequence predicts the next one.
    """
    bias = None if getattr(head, "bias", None) is None else head.bias.detach()
    states, targets = hidden[rows].to(head.weight.dtype), labels[rows + 1]
    return _Summed.apply(states, targets, head.weight.detach(), bias, change or Logits(), None)


def weighted_loss(
    causal: Any, hidden: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Returns the sum of weight times cross-entropy, a float32 scalar: of `hidden` (tokens, width) at `rows`, which
    predict `targets`; `weights` are float32. All three are (predicted,)."""
    head = causal.get_output_embeddings()
    bias = None if getattr(head, "bias", None) is None else head.bias.detach()
    states = hidden[rows].to(head.weight.dtype)
    return _Summed.apply(states, targets, head.weight.detach(), bias, Logits.of(causal.config), weights)


class _Summed(torch.autograd.Function):  # type: ignore[misc]  # torch is not followed
    """Summed cross-entropy of change(linear(states)); the gradient of the states is computed with it."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        change: Logits,
        shares: torch.Tensor | None,
    ) -> torch.Tensor:
        total = states.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        step = max(1, CHUNK // len(weight))
        for start in range(0, len(states), step):
            part, target = states[start : start + step], targets[start : start + step, None]
            logits = torch.nn.functional.linear(part, weight, bias).float()
            slope = change.apply_(logits)
            norm = logits.logsumexp(1, keepdim=True)
            nats = norm - logits.gather(1, target)
            share = None if shares is None else shares[start : start + step, None]
            total += (nats if share is None else nats * share).sum()
            if gradient is not None:
                logits.sub_(norm).exp_()
                logits.scatter_add_(1, target, logits.new_full((1, 1), -1.0).expand_as(target))
                if change != Logits():
                    logits.mul_(slope)
                if share is not None:
                    logits.mul_(share)
                torch.mm(logits.to(weight.dtype), weight, out=gradient[start : start + step])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None, None, None, None
