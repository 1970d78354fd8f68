"""How far a score could be off: paired bootstrap intervals over rows.

Output contract: 95 % percentile intervals (Efron 1979; for text metrics Koehn 2004) from resampled rows, the same rows
for base and tuned in every resample, so the interval of their difference owes nothing to which rows were hard. Equal
inputs and seed give equal intervals. A resample without data, where none of the rows drawn was to be scored, has no
score and is left out; fewer than two rows with data have no interval.
This module knows no metric: a score is a function of row statistics added up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Statistics = np.ndarray[Any, np.dtype[np.float64]]
"""What a metric counts in each row, shape (rows, counts): summed over rows it gives the score of these rows. The second
count is of what there was to score (tokens, bytes, pairs, n-grams), the same for base and tuned."""

Score = Callable[[Statistics], float]
"""Makes one score of counts that are summed over rows, shape (counts,)."""

Change = Callable[[float, float], float]
"""Makes of the score of base and of tuned by how much it has changed."""

_AT_ONCE = 1 << 22  # numbers that a block of resamples holds


def intervals(
    base: Statistics, tuned: Statistics, score: Score, change: Change, draws: int, seed: int
) -> dict[str, list[float]] | None:
    """Returns `{base, tuned, change}`, each `[low, high]`, or None where fewer than two rows have data.

    Both statistics are of the same rows, in the same order.
    """
    if np.count_nonzero(base[:, 1:2]) < 2:
        return None
    count, drawn = len(base), 0
    random = np.random.default_rng(seed)
    resampled: list[tuple[float, float, float]] = []
    while drawn < draws:
        block = max(1, min(draws - drawn, _AT_ONCE // count))
        weights = random.multinomial(count, np.full(count, 1 / count), size=block).astype(np.float64)
        for left, right in zip(weights @ base, weights @ tuned, strict=True):
            if left[1]:
                scores = score(left), score(right)
                resampled.append((*scores, change(*scores)))
        drawn += block
    if not resampled:
        return None
    low, high = np.percentile(np.array(resampled), [2.5, 97.5], axis=0)
    names = ("base", "tuned", "change")
    return {name: [float(low[column]), float(high[column])] for column, name in enumerate(names)}
