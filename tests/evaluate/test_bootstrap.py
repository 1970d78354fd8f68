"""Intervals: as wide as the data says, paired, the same every time, and absent where there is nothing to resample."""

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
    assert found is not None
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
    assert found is not None
    assert found["base"][1] - found["base"][0] > 1.0
    assert np.allclose(found["change"], [1.0, 1.0])


def test_a_seed_decides_it_whatever_the_block_of_resamples(monkeypatch: object) -> None:
    random = np.random.default_rng(0)
    base = random.random((50, 2)) + 1
    first = intervals(base, base * 1.1, ratio, difference, 300, 7)
    assert first == intervals(base, base * 1.1, ratio, difference, 300, 7)
    assert first != intervals(base, base * 1.1, ratio, difference, 300, 8)


def plain(base: list[list[float]], tuned: list[list[float]], draws: int, seed: int) -> dict[str, list[float]]:
    """Returns the intervals of a ratio, resample by resample and row by row; one without a second count is no score."""
    random, count = np.random.default_rng(seed), len(base)
    kept: list[tuple[float, float, float]] = []
    for _ in range(draws):
        times = random.multinomial(count, [1 / count] * count)
        sums = [
            [sum(int(n) * row[column] for n, row in zip(times, rows, strict=True)) for column in (0, 1)]
            for rows in (base, tuned)
        ]
        if sums[0][1]:
            scores = [part[0] / part[1] for part in sums]
            kept.append((scores[0], scores[1], scores[1] - scores[0]))
    names = ("base", "tuned", "change")
    return {
        name: [float(np.percentile([one[place] for one in kept], share)) for share in (2.5, 97.5)]
        for place, name in enumerate(names)
    }


def test_resamples_without_data_are_left_out() -> None:
    base = [[0.0, 0.0]] * 18 + [[0.0, 1.0], [1.0, 1.0]]
    tuned = [[0.0, 0.0]] * 18 + [[1.0, 1.0], [1.0, 1.0]]
    found = intervals(np.array(base), np.array(tuned), ratio, difference, 1000, 5)
    assert found is not None
    assert found["tuned"] == [1.0, 1.0]  # a resample without either row is no score of 0
    wanted = plain(base, tuned, 1000, 5)
    for name, limits in wanted.items():
        assert np.allclose(found[name], limits), name


def test_intervals_are_those_of_a_plain_loop() -> None:
    random = np.random.default_rng(3)
    base = np.stack([random.random(40) * 9, random.integers(0, 9, 40)], axis=1)
    tuned = np.stack([random.random(40) * 7, base[:, 1]], axis=1)
    found = intervals(base, tuned, ratio, difference, 400, 2)
    assert found is not None
    for name, limits in plain(base.tolist(), tuned.tolist(), 400, 2).items():
        assert np.allclose(found[name], limits, rtol=1e-12), name


def test_one_row_has_no_interval_and_neither_has_one_row_with_data() -> None:
    one = np.array([[2.0, 4.0]])
    assert intervals(one, one, ratio, difference, 100, 1) is None
    rows = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert intervals(rows, rows, ratio, difference, 100, 1) is None
    assert intervals(np.zeros((0, 2)), np.zeros((0, 2)), ratio, difference, 100, 1) is None
