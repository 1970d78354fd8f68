"""MinHash signatures, band keys and the pairs of rows that share one, whole batches at a time.

datasketch supplies the permutations (scheme `affine32`, seed 1); numpy applies them, and a signature equals the one
that datasketch's `MinHash` makes of the same shingles. Two rows whose Jaccard similarity is j share at least one of b
keys of r hashes each with probability 1 - (1 - j**r)**b.
Output contract: pairs are candidates, not decisions; `verify` judges them. This module does not read files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.dedup.shingles import Shingles, mix

CAP = 64  # rows of a bucket that are all compared with one another
HUBS = 4  # in a bucket over the cap a row is paired with so many others: the best by priority
FINER = 3  # how often a bucket over the cap is cut: by the keys of so many more bands
PAIRS = 1 << 22  # made at a time

_WORK = 512  # shingles permuted at a time: with 256 permutations half a megabyte, so a core's cache holds them
_LOW = np.uint64(0xFFFFFFFF)
_ODD = np.uint64(0x9E3779B97F4A7C15)


def permutations(count: int) -> np.ndarray:
    """Returns datasketch's permutations h -> a * h + b mod 2**32, uint32 of shape (2, count): a, then b."""
    from datasketch import MinHash

    return np.asarray(MinHash(num_perm=count, seed=1, scheme="affine32").permutations, dtype=np.uint32)


def signatures(shingles: Shingles, perms: np.ndarray) -> np.ndarray:
    """Returns the MinHash signature of every row: uint32 of shape (rows, permutations). No row may be empty."""
    hashes = _fmix32((shingles.values & _LOW).astype(np.uint32))
    result = np.empty((len(shingles.offsets) - 1, perms.shape[1]), dtype=np.uint32)
    start = 0
    while start < len(result):
        begin = shingles.offsets[start]
        stop = max(start + 1, int(np.searchsorted(shingles.offsets, begin + _WORK, side="right")) - 1)
        block = hashes[begin : shingles.offsets[stop], None] * perms[0]
        block += perms[1]
        np.minimum.reduceat(block, shingles.offsets[start:stop] - begin, axis=0, out=result[start:stop])
        start = stop
    return result


def keys(signature: np.ndarray, bands: int) -> np.ndarray:
    """Returns the band keys, uint64 (bands, rows): hashes of the bands' slices of signatures (rows, permutations)."""
    slices = signature.reshape(len(signature), bands, signature.shape[1] // bands).astype(np.uint64)
    key = np.zeros((len(signature), bands), dtype=np.uint64)
    for column in range(slices.shape[2]):
        key = mix(key * _ODD + slices[:, :, column])
    return np.ascontiguousarray(key.T)


def pairs(keys: Sequence[np.ndarray], cap: int, hubs: int = HUBS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (better, worse), the positions of rows that have the same key, about `PAIRS` at a time.

    `keys[0]` is one band's column, rows in order of priority, and the others those of the next bands. In a bucket of
    more than `cap` rows each row is paired with the `hubs` best ones only, so that the work grows with the rows and not
    with their square; and the bucket is cut by the next band's keys into smaller ones, for which the same holds: rows
    that stay together agree in more and more hashes. A pair may come more than once.
    """
    rows, key = np.arange(len(keys[0])), keys[0]
    for finer in [*keys[1:], None]:
        order, start, size = _buckets(key)
        over = size > cap
        partners = np.arange(len(key)) - start
        partners = np.where(over, np.minimum(partners, hubs), partners)
        for better, worse in _spelled_out(start, partners):
            yield rows[order[better]], rows[order[worse]]
        if finer is None or not over.any():
            return
        left = np.sort(order[over])
        rows, key = rows[left], mix(key[left] * _ODD + finer[rows[left]])


def _spelled_out(start: np.ndarray, partners: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (better, worse), int64 positions in bucket order: each pairs with the first `partners` of its bucket."""
    worse = np.flatnonzero(partners)
    total = np.cumsum(partners[worse])
    for begin in range(0, int(total[-1]) if len(total) else 0, PAIRS):
        low, high = np.searchsorted(total, [begin, begin + PAIRS], side="right")
        chunk = worse[low:high]
        count = partners[chunk]
        ends = np.cumsum(count)
        step = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - count, count)
        yield np.repeat(start[chunk], count) + step, np.repeat(chunk, count)


def crowded(key: np.ndarray, cap: int) -> tuple[np.ndarray, int, int]:
    """Returns whether each row is in a bucket of more than `cap`, bool (rows,); the number of such buckets; and the
    size of the largest bucket."""
    order, start, size = _buckets(key)
    inside = np.zeros(len(key), dtype=bool)
    inside[order[size > cap]] = True
    buckets = int(((size > cap) & (start == np.arange(len(key)))).sum())
    return inside, buckets, int(size.max(initial=0))


def _buckets(key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the rows in order of key and, for each position in that order, the start and the size of its bucket."""
    order = np.argsort(key, kind="stable")
    new = np.ones(len(key), dtype=bool)
    new[1:] = key[order[1:]] != key[order[:-1]]
    first = np.flatnonzero(new)
    size = np.diff(np.append(first, len(key)))
    return order, np.repeat(first, size), np.repeat(size, size)


def _fmix32(values: np.ndarray) -> np.ndarray:
    """Returns the values through MurmurHash3's finaliser, uint32, as datasketch does before it permutes."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return np.asarray(values ^ (values >> np.uint32(16)))
