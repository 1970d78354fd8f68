"""The audit's recall: what its interval covers in simulation, that it adds up, that the ids decide."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipeline.screen.toxicity import audit
from pipeline.screen.toxicity.audit import STRATA, Audit

NONE = (0,) * STRATA


def counts(**strata: int) -> tuple[int, ...]:
    return tuple(strata.get(f"s{stratum}", 0) for stratum in range(STRATA))


@pytest.mark.parametrize("floor", [0.01, 0.05])
@pytest.mark.parametrize(
    ("detected", "toxic"),
    [
        (500, {0: 5}),  # what a good head misses lies near the cut
        (500, {0: 20, 1: 10, 2: 5, 3: 3, 4: 2, 5: 1}),
        (500, {8: 10}),  # a head that is blind to something: far below the cut, where few are audited
        (500, {0: 2, 6: 100}),
        (50, {0: 1}),
        (50, {7: 3}),
        (5000, {}),
    ],
)
def test_the_interval_covers_the_true_recall_at_its_rate(detected: int, toxic: dict[int, int], floor: float) -> None:
    rng = np.random.default_rng(7)
    cleared = np.array([40, 80, 160, 320, 640, 1_300, 2_600, 5_000, 10_000, *[2_000] * (STRATA - 9)])
    missed = np.array([toxic.get(stratum, 0) for stratum in range(STRATA)])
    chance, trials, covered = audit.probabilities(floor), 500, 0
    for _ in range(trials):
        hits = rng.binomial(missed, chance)
        audited = hits + rng.binomial(cleared - missed, chance)
        drawn = Audit(floor, detected, *(tuple(column.tolist()) for column in (cleared, audited, hits)))
        recall = drawn.recall()
        assert recall is not None
        covered += recall[1] <= (detected + hits.sum()) / (detected + missed.sum()) <= recall[2]
    assert covered / trials >= 0.95 - 2 * (0.95 * 0.05 / trials) ** 0.5


def test_the_estimate_is_unbiased() -> None:
    rng = np.random.default_rng(3)
    missed, chance = np.array([9, 7, 5, 4, 3, 40, *[0] * (STRATA - 6)]), audit.probabilities(0.02)
    totals = []
    for _ in range(2_000):
        hits = tuple(rng.binomial(missed, chance).tolist())
        totals.append(Audit(0.02, 1, (1_000,) * STRATA, NONE, hits).total()[0])
    assert np.mean(totals) == pytest.approx(missed.sum(), rel=0.06)


def test_the_interval_is_not_the_whole_range() -> None:
    """An interval of 0 to 1 would cover everything: 1,000 found and 2,000 of 20,000 audited bound the recall."""
    recall = Audit(0.1, 1_000, counts(s9=20_000), counts(s9=2_000), NONE).recall()
    assert recall is not None
    assert recall[0] == recall[2] == 1
    assert recall[1] == pytest.approx(0.964, abs=0.001)


def test_everything_judged_leaves_no_doubt() -> None:
    assert Audit(1.0, 10, counts(s0=30), counts(s0=30), counts(s0=2)).recall() == (1, 1, 1)
    assert Audit(0.1, 10, NONE, NONE, NONE).recall() == (1, 1, 1)


def test_nothing_found_is_no_recall_and_a_number_of_rows() -> None:
    report = Audit(0.01, 0, counts(s9=10_000), counts(s9=100), NONE).report()
    assert report["recall"] is None
    assert report["missed_at_most"] == pytest.approx(368.9, abs=0.1)


def test_halves_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(5)
    ids = [hashlib.blake2b(bytes([n % 256, n // 256]), digest_size=16).hexdigest() for n in range(3_000)]
    below = rng.exponential(4, len(ids))
    edges = audit.edges(-below)

    def part(some: slice) -> Audit:
        strata = audit.strata(-below[some], edges)
        audited = audit.sampled(ids[some], strata, 0.05)
        return Audit.count(0.05, 3, strata, audited, audited & (below[some] > 3))

    whole = part(slice(None))
    halves = part(slice(0, 1_000)) + part(slice(1_000, None))
    assert (halves.cleared, halves.audited, halves.missed) == (whole.cleared, whole.audited, whole.missed)
    assert halves.detected == 6


def test_rows_are_drawn_with_their_strata_s_probability() -> None:
    ids = [hashlib.blake2b(n.to_bytes(4), digest_size=16).hexdigest() for n in range(20_000)]
    for stratum, share in ((0, 0.5), (2, 0.125), (9, 0.03)):
        drawn = audit.sampled(ids, np.full(len(ids), stratum), 0.03)
        assert drawn.mean() == pytest.approx(share, rel=0.1)


def test_strata_double_from_the_cut_down_and_a_flat_distribution_costs_no_more() -> None:
    rng = np.random.default_rng(2)
    for values in (rng.normal(size=100_000), 1e-3 * rng.random(100_000) - 2.0):
        counted = np.bincount(audit.strata(values, audit.edges(values)), minlength=STRATA)
        assert counted == pytest.approx(100_000 * 2.0 ** np.arange(-STRATA, 0), rel=0.05, abs=2)
    assert audit.strata(np.array([-1.0]), audit.edges(np.empty(0))).tolist() == [STRATA - 1]
