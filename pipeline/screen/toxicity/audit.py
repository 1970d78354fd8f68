"""Recall of a screen, from an audit: a random sample of the rows that it let pass, judged after all.

A row that the screen let pass is audited with a probability that depends on how close to the cut it lies: 1/2 of the
closest 1/1024 of the rows, 1/4 of the next 1/512, 1/8 of the next 1/256, …, and never less than a floor. The row's own
id is the die, so the sample is the same for any order, block layout or repetition.
Output contract: `Audit` holds counts only, adds up over any partition of the rows, and `recall` gives the share of the
rows that judging everything would have found, with an interval of 95 %: Horvitz-Thompson, and the gamma interval of Fay
and Feuer (1997, Statistics in Medicine 16:791-801) for a weighted sum of rare counts, which also covers where a stratum
shows none. Simulated coverage: `tests/screen/toxicity/test_audit.py`.
This module knows neither texts nor models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STRATA = 10  # the last is the farther half of the rows
LEVEL = 0.95
DIE = slice(24, 32)  # hex digits of an id that decide whether a row is audited; its first ones choose the pool


@dataclass(frozen=True)
class Audit:
    """Counts of rows. The three tuples have an entry per stratum, `STRATA` of them; `floor` is a probability."""

    floor: float
    found: int  # rows that the screen sent to the judge and the judge dropped
    passed: tuple[int, ...]  # rows that the screen let pass
    audited: tuple[int, ...]  # of them, those judged after all
    missed: tuple[int, ...]  # of those, the ones that the judge dropped

    @classmethod
    def of(cls, floor: float, found: int, strata: np.ndarray, audited: np.ndarray, missed: np.ndarray) -> Audit:
        """Counts rows: `strata` (int) of those let pass, and of each whether it was audited and was a miss."""
        chosen = (strata, strata[audited], strata[missed])
        counts = (tuple(np.bincount(some, minlength=STRATA).tolist()) for some in chosen)
        return cls(floor, found, *counts)

    @classmethod
    def nobody(cls, floor: float) -> Audit:
        """Returns the audit of no rows at all."""
        return cls(floor, 0, *((0,) * STRATA for _ in range(3)))

    def __add__(self, other: Audit) -> Audit:
        """Returns the audit of both halves; they must have the same floor."""
        sums = (tuple(np.add(a, b).tolist()) for a, b in zip(self._counts(), other._counts(), strict=True))
        return Audit(self.floor, self.found + other.found, *sums)

    def _counts(self) -> tuple[tuple[int, ...], ...]:
        return self.passed, self.audited, self.missed

    def total(self) -> tuple[float, float, float]:
        """Returns how many rows among those let pass the judge would drop: estimate, lower and upper limit."""
        weights = 1 / probabilities(self.floor)
        counts = np.array(self.missed)
        low, high = gamma_interval(counts, weights, np.array(self.passed) > 0)
        least = float(counts.sum())  # these were seen
        most = least + sum(self.passed) - sum(self.audited)  # every other one
        return float(counts @ weights), max(low, least), min(max(high, least), most)

    def recall(self) -> tuple[float, float, float] | None:
        """Returns the recall after the audit (its own finds are dropped too): estimate, lower and upper limit.

        None where neither the screen nor the audit found a row: there is nothing to have missed a share of.
        """
        dropped = self.found + sum(self.missed)
        if not dropped:
            return None
        estimate, low, high = self.total()
        return dropped / (self.found + estimate), dropped / (self.found + high), dropped / (self.found + low)

    def report(self) -> dict[str, Any]:
        """Returns the counts and the recall for `metrics/curate.json`."""
        recall = self.recall()
        return {
            "dropped": self.found + sum(self.missed),
            "audited": sum(self.audited),
            "audit_found": sum(self.missed),
            "missed_at_most": round(self.total()[2] - sum(self.missed), 1),
            "recall": None if recall is None else round(recall[0], 4),
            "recall_interval": None if recall is None else [round(limit, 4) for limit in recall[1:]],
        }


def probabilities(floor: float) -> np.ndarray:
    """Returns the probability with which a row of each stratum is audited."""
    return np.asarray(np.maximum(floor, 0.5 ** np.arange(1, STRATA + 1)))


def edges(values: np.ndarray) -> np.ndarray:
    """Returns the lower ends of all strata but the last (float64, falling), by a sample of values below the cut."""
    shares = (2.0 ** np.arange(1, STRATA) - 1) / 2.0**STRATA
    return np.asarray(np.quantile(values, 1 - shares) if len(values) else np.zeros(STRATA - 1))


def strata(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Returns the strata of values below the cut."""
    return np.searchsorted(-edges, -values, side="left").astype(np.int64)


def drawn(ids: Sequence[str], stratum: np.ndarray, floor: float) -> np.ndarray:
    """Returns which rows are audited, by the digits of their ids."""
    dice = np.array([int(row[DIE], 16) for row in ids], dtype=np.float64) / 16.0 ** (DIE.stop - DIE.start)
    return np.asarray(dice < probabilities(floor)[stratum])


def gamma_interval(counts: np.ndarray, weights: np.ndarray, possible: np.ndarray) -> tuple[float, float]:
    """Returns the limits of `sum(weights * expected counts)` given rare `counts`; `possible`: strata with any rows."""
    from scipy.special import gammaincinv

    if not possible.any():
        return 0.0, 0.0
    tail = (1 - LEVEL) / 2
    mean, variance = float(counts @ weights), float(counts @ weights**2)
    low = 0.0 if not mean else variance / mean * float(gammaincinv(mean**2 / variance, tail))
    most = float(weights[possible].max())
    mean, variance = mean + most, variance + most**2
    return low, variance / mean * float(gammaincinv(mean**2 / variance, 1 - tail))
