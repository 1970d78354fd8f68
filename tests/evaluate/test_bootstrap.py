"""Intervals: as wide as the data says, paired, and the same every time."""

from __future__ import annotations

import numpy as np

from pipeline.evaluate.bootstrap import intervals
from pipeline.evaluate.text_metrics import ratio


def difference(base: float, tuned: float) -> float:
    return tuned - base


def test_the_interval_of_a_mean_is_what_theory_says() -> None:
    random = np.random.default_rng(0)
    values = np.stack([random.normal(3.0, 2.0, 400), np.ones(400)], axis=1)
    found = intervals(values, values, ratio, difference, 4000, 1)
    wide = 1.96 * values[:, 0].std() / np.sqrt(400)
    low, high = found["base"]
    assert abs((high - low) / 2 - wide) < 0.1 * wide
    assert abs((high + low) / 2 - values[:, 0].mean()) < 0.1 * wide


def test_what_is_hard_for_both_does_not_widen_the_change() -> None:
    random = np.random.default_rng(0)
    hard = random.normal(0.0, 10.0, 200)
    base = np.stack([hard, np.ones(200)], axis=1)
    tuned = np.stack([hard + 1.0, np.ones(200)], axis=1)
    found = intervals(base, tuned, ratio, difference, 1000, 1)
    assert found["base"][1] - found["base"][0] > 1.0
    assert np.allclose(found["change"], [1.0, 1.0])


def test_a_seed_decides_it_whatever_the_block_of_resamples(monkeypatch: object) -> None:
    random = np.random.default_rng(0)
    base = random.random((50, 2)) + 1
    first = intervals(base, base * 1.1, ratio, difference, 300, 7)
    assert first == intervals(base, base * 1.1, ratio, difference, 300, 7)
    assert first != intervals(base, base * 1.1, ratio, difference, 300, 8)
