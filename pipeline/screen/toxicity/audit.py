"""Recall of the early exit, from an audit: a random sample of the rows that it cleared is scored in full.

The probability with which a cleared row is audited depends on how close to the cut it lies: 1/2 of the closest 1/1024
of the rows, 1/4 of the next 1/512, 1/8 of the next 1/256, …, and never less than a floor. Digits of the id decide, so
the sample is the same for any order, block layout or repetition.
Output contract: `Audit` holds counts only and adds up over any partition of the rows. `recall` estimates the share of
all toxic rows that are marked, with a 95 % interval: Horvitz-Thompson, and the gamma interval of Fay and Feuer (1997,
Statistics in Medicine 16:791-801) for a weighted sum of rare counts, which also holds for a stratum without any.
Simulated coverage: `tests/screen/toxicity/test_audit.py`. This module knows neither texts nor models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STRATA = 10  # the last is the farther half of the rows
LEVEL = 0.95
DIGITS = slice(24, 32)  # hex digits of an id that decide whether a row is audited; its first ones choose the pool


@dataclass(frozen=True)
class Audit:
    """Counts of rows. The three tuples have an entry per stratum, `STRATA` of them; `floor` is a probability."""

    floor: float
    detected: int  # toxic rows that the early exit sent on
    cleared: tuple[int, ...]  # rows that the early exit cleared
    audited: tuple[int, ...]  # cleared rows that were scored in full
    missed: tuple[int, ...]  # audited rows that are toxic

    @classmethod
    def count(cls, floor: float, detected: int, strata: np.ndarray, audited: np.ndarray, missed: np.ndarray) -> Audit:
        """Counts cleared rows by stratum: `strata` int64 (rows,), `audited` and `missed` bool (rows,)."""
        groups = (strata, strata[audited], strata[missed])
        return cls(floor, detected, *(tuple(np.bincount(group, minlength=STRATA).tolist()) for group in groups))

    @classmethod
    def empty(cls, floor: float, detected: int = 0) -> Audit:
        """Returns an audit without cleared rows."""
        return cls(floor, detected, *((0,) * STRATA for _ in range(3)))

    def __add__(self, other: Audit) -> Audit:
        """Returns the audit of the rows of both, which must have the same floor."""
        pairs = ((self.cleared, other.cleared), (self.audited, other.audited), (self.missed, other.missed))
        return Audit(self.floor, self.detected + other.detected, *(tuple(np.add(*pair).tolist()) for pair in pairs))

    def total(self) -> tuple[float, float, float]:
        """Returns the number of toxic rows among the cleared ones: estimate, lower and upper limit."""
        weights = 1 / probabilities(self.floor)
        counts = np.array(self.missed)
        low, high = gamma_interval(counts, weights, np.array(self.cleared) > 0)
        least = float(counts.sum())  # the audited ones
        most = least + sum(self.cleared) - sum(self.audited)  # and every row that was not audited
        return float(counts @ weights), max(low, least), min(max(high, least), most)

    def recall(self) -> tuple[float, float, float] | None:
        """Returns the recall after the audit, whose finds are marked too: estimate, lower and upper limit.

        None where no toxic row was found.
        """
        marked = self.detected + sum(self.missed)
        if not marked:
            return None
        estimate, low, high = (self.detected + total for total in self.total())
        return marked / estimate, marked / high, marked / low

    def report(self) -> dict[str, Any]:
        """Returns the counts and the recall for `metrics/curate.json`."""
        recall = self.recall()
        return {
            "dropped": self.detected + sum(self.missed),
            "audited": sum(self.audited),
            "audit_found": sum(self.missed),
            "missed_at_most": round(self.total()[2] - sum(self.missed), 1),
            "recall": None if recall is None else round(recall[0], 4),
            "recall_interval": None if recall is None else [round(limit, 4) for limit in recall[1:]],
        }


def probabilities(floor: float) -> np.ndarray:
    """Returns the probability that a row is audited, float64 (strata,)."""
    return np.asarray(np.maximum(floor, 0.5 ** np.arange(1, STRATA + 1)))


def edges(values: np.ndarray) -> np.ndarray:
    """Returns the lower ends of all strata but the last, float64 (strata - 1,), falling, from values below the cut."""
    shares = (2.0 ** np.arange(1, STRATA) - 1) / 2.0**STRATA
    return np.asarray(np.quantile(values, 1 - shares) if len(values) else np.zeros(STRATA - 1))


def strata(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Returns the stratum of each value below the cut, int64 (values,)."""
    return np.searchsorted(-edges, -values, side="left").astype(np.int64)


def sampled(ids: Sequence[str], stratum: np.ndarray, floor: float) -> np.ndarray:
    """Returns whether each row is audited, bool (rows,), by the digits of its id."""
    digits = np.array([int(row[DIGITS], 16) for row in ids], dtype=np.float64)
    return np.asarray(digits / 16.0 ** (DIGITS.stop - DIGITS.start) < probabilities(floor)[stratum])


def gamma_interval(counts: np.ndarray, weights: np.ndarray, possible: np.ndarray) -> tuple[float, float]:
    """Returns the limits of `sum(weights * expected counts)`. All arguments are (strata,); `possible`: it has rows."""
    from scipy.special import gammaincinv

    if not possible.any():
        return 0.0, 0.0
    tail = (1 - LEVEL) / 2
    mean, variance = float(counts @ weights), float(counts @ weights**2)
    low = 0.0 if not mean else variance / mean * float(gammaincinv(mean**2 / variance, tail))
    most = float(weights[possible].max())
    mean, variance = mean + most, variance + most**2
    return low, variance / mean * float(gammaincinv(mean**2 / variance, 1 - tail))
