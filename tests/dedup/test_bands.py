"""Signatures against datasketch, band keys against their slices, pairs against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch import MinHash

from pipeline.dedup import bands, shingles


def random_sets(sizes: list[int], seed: int = 0) -> shingles.Shingles:
    generator = np.random.default_rng(seed)
    values = [np.sort(generator.integers(0, 1 << 63, size, dtype=np.uint64)) for size in sizes]
    return shingles.Shingles(np.concatenate(values), shingles.offsets_of(np.array(sizes)))


@pytest.mark.parametrize("count", [16, 252])
def test_signatures_are_datasketchs(count: int) -> None:
    sets = random_sets([1, 2, 7, 300, 5000, 1, 64])
    ours = bands.signatures(sets, bands.permutations(count))
    for row in range(len(ours)):
        theirs = MinHash(num_perm=count, hashfunc=lambda value: int(value) & 0xFFFFFFFF)
        theirs.update_batch(sets.values[sets.offsets[row] : sets.offsets[row + 1]])
        if row < 3:  # one by one as well
            single = MinHash(num_perm=count, hashfunc=lambda value: int(value) & 0xFFFFFFFF)
            for value in sets.values[sets.offsets[row] : sets.offsets[row + 1]]:
                single.update(value)
            assert np.array_equal(single.hashvalues, theirs.hashvalues)
        assert np.array_equal(ours[row], theirs.hashvalues)


def test_no_rows() -> None:
    signature = bands.signatures(shingles.shingle([], 3), bands.permutations(12))
    assert signature.shape == (0, 12)
    assert bands.keys(signature, 4).shape == (4, 0)
    assert list(bands.pairs([np.empty(0, np.uint64)] * 2, 64)) == []


def test_keys_are_equal_where_slices_are() -> None:
    signature = np.random.default_rng(1).integers(0, 1 << 32, (6, 12), dtype=np.uint32)
    signature[3, 4:8] = signature[1, 4:8]
    signature[5, 0:4] = signature[2, 4:8]  # another band: another column
    key = bands.keys(signature, 3)
    assert key.shape == (3, 6)
    assert [(band, a, b) for band in range(3) for a in range(6) for b in range(a) if key[band, a] == key[band, b]] == [
        (1, 3, 1)
    ]


def collect(key: np.ndarray, cap: int, hubs: int = bands.HUBS) -> list[tuple[int, int]]:
    return [pair for a, b in bands.pairs([key], cap, hubs) for pair in zip(a.tolist(), b.tolist(), strict=True)]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 22])
def test_pairs_are_all_within_a_bucket(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "PAIRS", chunk)
    key = np.random.default_rng(2).integers(0, 12, 60, dtype=np.uint64)
    expected = [(a, b) for b in range(60) for a in range(b) if key[a] == key[b]]
    assert sorted(collect(key, 60)) == sorted(expected)


def test_a_large_bucket_is_paired_with_its_best_rows_only() -> None:
    key = np.zeros(1000, dtype=np.uint64)
    key[990:] = 7  # a bucket of ten is not over the cap: all 45 pairs
    found = collect(key, 10, hubs=5)
    assert len(found) == 10 + 985 * 5 + 45
    assert {a for a, b in found if b < 990} == {0, 1, 2, 3, 4}
    assert all(a < b for a, b in found)


def test_a_large_bucket_is_cut_by_the_next_keys() -> None:
    """Six rows in one bucket, two and four by the next key, two and two by the one after."""
    first = np.array([1, 1, 1, 9, 1, 1, 1], np.uint64)
    second = np.array([5, 4, 5, 4, 4, 4, 4], np.uint64)
    third = np.array([7, 7, 6, 7, 8, 8, 7], np.uint64)

    def found(*keys: np.ndarray) -> set[tuple[int, int]]:
        return {pair for a, b in bands.pairs(keys, 2, hubs=1) for pair in zip(a.tolist(), b.tolist(), strict=True)}

    best = {(0, row) for row in (1, 2, 4, 5, 6)}
    assert found(first) == best
    assert found(first, second) == best | {(1, 4), (1, 5), (1, 6)}
    assert found(first, second, third) == best | {(1, 4), (1, 5), (1, 6), (4, 5)}


def test_crowded_buckets_are_counted() -> None:
    inside, buckets, largest = bands.crowded(np.array([5, 9, 5, 5, 9, 1, 9, 9], np.uint64), 2)
    assert inside.tolist() == [True, True, True, True, True, False, True, True]
    assert (buckets, largest) == (2, 4)
    inside, buckets, largest = bands.crowded(np.array([5, 9, 5, 5, 9, 1, 9, 9], np.uint64), 3)
    assert (inside.sum(), buckets, largest) == (4, 1, 4)
    assert bands.crowded(np.empty(0, np.uint64), 2)[1:] == (0, 0)


def test_pairs_at_the_threshold_are_found() -> None:
    """3,000 pairs of sets at exactly Jaccard 0.8 (8 of 10): the default bands miss fewer than one in 100,000."""
    from pipeline.config import Dedup

    settings = Dedup()
    generator = np.random.default_rng(3)
    values = np.sort(generator.integers(0, 1 << 63, (3000, 10), dtype=np.uint64), axis=1)
    whole = shingles.Shingles(values.ravel(), np.arange(0, 30001, 10))
    part = shingles.Shingles(values[:, 1:9].ravel(), np.arange(0, 24001, 8))
    perms = bands.permutations(settings.bands * settings.rows)
    one, other = (bands.keys(bands.signatures(sets, perms), settings.bands) for sets in (whole, part))
    assert (one == other).any(axis=0).all()
