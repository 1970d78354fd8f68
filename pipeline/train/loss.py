"""Cross-entropy on the supervised tokens only, without ever holding the logits of a whole row.

Output contract: `answer_loss` returns the *sum* over supervised tokens (natural logarithm), in float32; the caller
divides by how many there are in the optimiser step. Unsupervised positions never reach the output matrix. On CUDA
liger-kernel's fused kernel does it when that package is there; otherwise chunks of rows are computed and, in the
backward pass, computed again.
This module does not train the output matrix: it gets no gradient.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from pipeline.errors import ConfigError
from pipeline.train.template import IGNORED

CHUNK = 1024
"""Supervised positions whose logits are held at once where liger-kernel is not used."""


def check_head(config: Any) -> None:
    """Raises `ConfigError` for a model that does something to its logits which this loss would leave out."""
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        value = getattr(config, name, None)
        if value is not None and float(value) != 1.0:
            raise ConfigError(f"base_model: {config.model_type} changes its logits ({name}); it cannot be trained here")


def supervised(labels: torch.Tensor) -> int:
    """Counts the supervised tokens of one packed row; `labels` is (tokens,)."""
    return int((labels[1:] != IGNORED).sum())


def answer_loss(hidden: torch.Tensor, labels: torch.Tensor, head: torch.nn.Module) -> torch.Tensor:
    """Returns the summed cross-entropy of one packed row, a float32 scalar.

    `hidden` is (tokens, width), the model's last hidden states; `labels` is (tokens,), not shifted: position i is
    predicted from i - 1. The first token of every sequence is unsupervised, so no sequence predicts the next one.
    """
    rows = (labels[1:] != IGNORED).nonzero(as_tuple=True)[0]
    weight = head.weight.detach()
    bias = None if getattr(head, "bias", None) is None else head.bias.detach()
    states, targets = hidden[rows].to(weight.dtype), labels[rows + 1]
    fused = _liger() if states.is_cuda else None
    if fused is not None and states.shape[0]:
        return fused(weight, states, targets, bias).float()
    total = hidden.new_zeros((), dtype=torch.float32)
    for part, target in zip(states.split(CHUNK), targets.split(CHUNK), strict=True):
        total = total + checkpoint(_chunk, part, target, weight, bias, use_reentrant=False, preserve_rng_state=False)
    return total


def _chunk(
    states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    logits = torch.nn.functional.linear(states, weight, bias)
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


@lru_cache(maxsize=1)
def _liger() -> Any:
    """Returns liger's fused linear cross-entropy (sum), None where the package is not installed."""
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError:
        return None
    return LigerFusedLinearCrossEntropyLoss(reduction="sum")
