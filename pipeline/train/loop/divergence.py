"""When a training has gone wrong, and what is done about it: the verdict on a step and the ladder of remedies.

Output contract: `Guard.judge` gives one verdict per optimiser step, before the weights change; only a step that is
`GOOD` may change them. `Guard.needs_rollback` says when the last good snapshot is due. All it remembers goes into
`state()`, so that a resumed training judges as the interrupted one would have.
This module knows no model: it sees a loss and a norm per step. `callback` holds the snapshots and takes them back.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pipeline.config import Divergence

IN_A_ROW = 3  # steps lost one after the other that make the last good snapshot due
WINDOW = 50  # good steps that the running median is of
ROLLBACKS = 3  # the one that ends the training, unless `WINDOW` good steps lie between it and the one before
ENOUGH = 20  # good steps before a leap of the loss can be told
FLOOR = 0.05  # nats, and
SHARE = 0.1  # of the median: the least that counts as a standard deviation, or a flat loss would leap all the time
NORMAL = 1.4826  # a normal distribution's standard deviation over its median absolute deviation


class Verdict(StrEnum):
    """What became of a step; the value is the name in the event log."""

    GOOD = "good"
    GRADIENT = "gradient"  # the norm of the gradients is not finite
    LOSS = "loss"  # the loss is not finite, the gradients are
    SPIKE = "spike"  # the loss has leapt


class Guard:
    """Judges the steps of one training. `rate` is the factor on the learning rate: halved by every rollback."""

    def __init__(self, settings: Divergence) -> None:
        self.settings = settings
        self.rate = 1.0
        self.rollbacks = 0  # since the last `WINDOW` good steps in a row
        self.lost = 0  # steps in a row that did not change the weights
        self.fine = 0  # good steps since the last rollback
        self.losses: list[tuple[int, float]] = []  # of the last good steps: (step, loss)

    def judge(self, step: int, loss: float, norm: float) -> Verdict:
        """Returns the verdict on a step by its loss and the norm of its gradients, and remembers it."""
        verdict = self._verdict(loss, norm)
        if verdict is Verdict.GOOD:
            self.lost = 0
            self.fine += 1
            if self.fine >= WINDOW:
                self.rollbacks = 0
            self.losses = [*self.losses, (step, loss)][-WINDOW:]
        else:
            self.lost += 1
        return verdict

    def _verdict(self, loss: float, norm: float) -> Verdict:
        if not math.isfinite(norm):
            return Verdict.GRADIENT
        if not math.isfinite(loss):
            return Verdict.LOSS
        limit = self.settings.spike
        return Verdict.SPIKE if limit is not None and self.score(loss) > limit else Verdict.GOOD

    def score(self, loss: float) -> float:
        """Returns how many robust standard deviations a loss lies over the running median; 0 while few are known."""
        recent = [value for _, value in self.losses]
        if len(recent) < ENOUGH:
            return 0.0
        median = statistics.median(recent)
        deviation = NORMAL * statistics.median(abs(value - median) for value in recent)
        return (loss - median) / max(deviation, SHARE * median, FLOOR)

    def needs_rollback(self, verdict: Verdict) -> bool:
        """Returns whether a step with this verdict, just judged, calls for the last good snapshot."""
        return verdict is Verdict.SPIKE or self.lost >= IN_A_ROW

    def roll_back(self, step: int) -> bool:
        """Counts a rollback to `step` and halves the rate; returns whether the training may go on."""
        self.rollbacks += 1
        self.rate /= 2
        self.lost = self.fine = 0
        self.losses = [(loss_step, loss) for loss_step, loss in self.losses if loss_step <= step]
        return self.rollbacks < ROLLBACKS

    def state(self) -> dict[str, Any]:
        """Returns what it remembers, as JSON."""
        names = ("rate", "rollbacks", "lost", "fine", "losses")
        return {name: getattr(self, name) for name in names}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state` returned."""
        for name, value in state.items():
            setattr(self, name, value)
        self.losses = [(int(step), float(loss)) for step, loss in state["losses"]]
