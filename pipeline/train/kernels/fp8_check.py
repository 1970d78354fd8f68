"""Which layers multiply in FP8: measured on a training's first row, before its first step.

Output contract: `settle` sets `fp8` of the groups that are close to bf16 on that row, writes its `Verdict` to a file
and returns it; called again for the same training it does as the file says. The model's weights and gradients stay as
they were.
This module trains nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.storage import storage_errors
from pipeline.train.kernels import fp8, loss, ops
from pipeline.train.kernels.fused_lora import Group

ERROR = 0.08  # relative error of a group's product from which it stays in bf16: 0.035 is usual, 0.092 is NF4's own
LOSS = 0.02  # relative difference of the row's loss from which FP8 does not agree with bf16: 0.005 on SmolLM2
COSINE = 0.9  # of the adapters' gradients, below which it does not: 0.973 on SmolLM2


@dataclass(frozen=True)
class Verdict:
    """`groups` there are; `refused`: those that stay in bf16, by name, with the larger relative error of their products
    forward and back (None: of a shape that has no FP8 kernels). `losses` per supervised token of the row in bf16 and in
    FP8, and `cosine` of the adapters' gradients in both. `used`: whether the training multiplies in FP8."""

    groups: int
    refused: dict[str, float | None]
    losses: tuple[float, float]
    cosine: float
    used: bool

    def sentence(self) -> str:
        """Returns it as a line of a log."""
        plain, low = self.losses
        agreement = f"loss {low:.4f} against {plain:.4f}, cosine of the gradients {self.cosine:.4f}"
        if not self.used:
            return f"products stay in bf16: on the first row FP8 does not agree with it ({agreement})"
        off = [name if error is None else f"{name} (error {error:.3f})" for name, error in self.refused.items()]
        rest = f"; in bf16 stay {', '.join(off)}" if off else ""
        return f"products in FP8 in {self.groups - len(off)} of {self.groups} steps of the layers: {agreement}{rest}"


class _Compared:
    """A group's products in bf16 that note how far those in FP8 are off."""

    def __init__(self, plain: ops.Products, low: fp8.Weights) -> None:
        self.plain, self.low = plain, low
        self.errors: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor, biases: ops.Biases) -> list[torch.Tensor]:
        none = [None] * len(biases)  # a bias is exact, and would hide an error behind its size
        right = self.plain.forward(x, none)
        self.errors += [_error(y, other) for y, other in zip(self.low.forward(x, none), right, strict=True)]
        return [y if bias is None else y + bias for y, bias in zip(right, biases, strict=True)]

    def backward(self, dys: Sequence[torch.Tensor]) -> torch.Tensor:
        right = self.plain.backward(dys)
        self.errors.append(_error(self.low.backward(dys), right))
        return right


def _error(value: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (value.float() - right.float()).norm() / right.float().norm().clamp_(min=fp8.LEAST)


def settle(
    causal: Any, groups: Sequence[Group], row: dict[str, Any], held: bool, insist: bool, file: Path, key: str
) -> Verdict:
    """Takes the groups of `fused_lora.fuse` and a row as `trainer.PackedRows` gives it. `held` as in `fp8.Weights`;
    `insist`: FP8 is used though it does not agree. Raises `StorageError`."""
    before = json.loads(file.read_text()) if file.exists() else {}
    if before.get("key") == key:
        verdict = Verdict(**{**before["verdict"], "losses": tuple(before["verdict"]["losses"])})
        _use(groups, verdict, held)
        return verdict
    verdict = _measured(causal, groups, row, held, insist)
    with storage_errors(str(file)):
        file.write_text(json.dumps({"key": key, "verdict": asdict(verdict)}))
    if not verdict.used:
        _use(groups, verdict, held)
    return verdict


def _use(groups: Sequence[Group], verdict: Verdict, held: bool) -> None:
    for group in groups:
        low = verdict.used and group.name not in verdict.refused
        group.fp8 = fp8.Weights(group.frozen, held) if low else None


def _measured(causal: Any, groups: Sequence[Group], row: dict[str, Any], held: bool, insist: bool) -> Verdict:
    causal.train()
    row = {name: value.to(causal.device) if isinstance(value, torch.Tensor) else value for name, value in row.items()}
    compared = {
        group.name: _Compared(group.plain, fp8.Weights(group.frozen, held))
        for group in groups
        if fp8.fits(group.frozen)
    }
    for group in groups:
        group.fp8 = compared.get(group.name)
    plain, gradients = _step(causal, row)
    errors = {name: max(map(float, one.errors), default=0.0) for name, one in compared.items()}
    refused = {group.name: errors.get(group.name) for group in groups if errors.get(group.name, ERROR) >= ERROR}
    for group in groups:
        group.fp8 = None if group.name in refused else compared[group.name].low
    low, low_gradients = _step(causal, row)
    cosine = _cosine(gradients, low_gradients)
    agrees = abs(low - plain) <= LOSS * plain and cosine >= COSINE
    return Verdict(len(groups), refused, (plain, low), cosine, len(refused) < len(groups) and (agrees or insist))


def _step(causal: Any, row: dict[str, Any]) -> tuple[float, list[torch.Tensor]]:
    """Returns the row's loss per supervised token and the gradients of what trains."""
    trained = [parameter for parameter in causal.parameters() if parameter.requires_grad]
    with torch.autocast("cuda", torch.bfloat16, enabled=causal.device.type == "cuda"):
        summed = loss.row_loss(causal, row)
    gradients = torch.autograd.grad(summed, trained)
    return float(summed.detach()) / max(1, len(row["answers"])), list(gradients)


def _cosine(left: list[torch.Tensor], right: list[torch.Tensor]) -> float:
    both = sum((float((a * b).sum()) for a, b in zip(left, right, strict=True)), 0.0)
    squares = [sum((float((a * a).sum()) for a in side), 0.0) for side in (left, right)]
    return both / max(math.sqrt(squares[0] * squares[1]), fp8.LEAST)
