"""Texts -> hashed character n-grams: what a linear model reads, whole batches at a time.

A text is normalised (NFKC, lower case) with a space before and after it, and every run of `ORDERS` characters in it,
spaces and punctuation included, is hashed into `BUCKETS`. So a model sees words, stems and compounds of any language.
Output contract: the same text gives the same buckets in every process, batch and machine, and `scores` adds integers:
no rounding depends on what stands beside a text. A text's value for a bucket is the number of times it occurs, divided
by the square root of the number of its n-grams.
This module does not learn, read files or keep text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

ORDERS = (3, 4, 5, 7)  # ascending
BITS = 18
BUCKETS = 1 << BITS
CHARACTERS = 1 << 16  # hashed at a time: stays in the caches; a longer text goes by itself

_MULTIPLIER = np.uint32(0x9E3779B1)
_SHIFT = np.uint32(32 - BITS)


def scores(texts: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Returns the sum of `weights` (int32, one per bucket) over each text's values (float64, one per text)."""
    found = []
    for codes, sizes in _chunks(texts):
        total = np.zeros(len(codes), np.int64)
        for buckets, valid in _buckets(codes, sizes):
            total += np.where(valid, weights[buckets], 0)
        starts = np.cumsum(sizes) - sizes
        found.append(np.add.reduceat(total, starts) / np.sqrt(_grams(sizes)))
    return np.concatenate(found) if found else np.empty(0)


def matrix(texts: Sequence[str]) -> Any:
    """Returns the values as scipy CSR: float32, a row per text, a column per bucket."""
    from scipy import sparse

    blocks = []
    for codes, sizes in _chunks(texts):
        row = np.repeat(np.arange(len(sizes)), sizes)
        parts = [(row[valid], buckets[valid]) for buckets, valid in _buckets(codes, sizes)]
        rows, columns = (np.concatenate(side) for side in zip(*parts, strict=True))
        values = (1 / np.sqrt(_grams(sizes)))[rows].astype(np.float32)
        blocks.append(sparse.csr_matrix((values, (rows, columns)), shape=(len(sizes), BUCKETS)))
    return sparse.vstack(blocks, format="csr") if blocks else sparse.csr_matrix((0, BUCKETS), dtype=np.float32)


def _chunks(texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields code points (uint32) of texts one after the other, and how many each has (int64, at least 2)."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        text = f" {unicodedata.normalize('NFKC', text).lower()} "
        if chunk and size + len(text) > CHARACTERS:
            yield _codes(chunk)
            chunk, size = [], 0
        chunk.append(text)
        size += len(text)
    if chunk:
        yield _codes(chunk)


def _codes(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return codes, np.array([len(text) for text in texts], np.int64)


def _buckets(codes: np.ndarray, sizes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields for each order, the bucket of the n-gram at each code point, and whether it ends in its text."""
    ends = np.cumsum(sizes)
    room = np.repeat(ends, sizes) - np.arange(len(codes))  # code points from here to the end of the text
    hashes = codes.copy()
    for length in range(1, ORDERS[-1]):
        hashes *= _MULTIPLIER
        hashes[:-length] += codes[length:]
        if length + 1 in ORDERS:
            yield (hashes * _MULTIPLIER) >> _SHIFT, room > length


def _grams(sizes: np.ndarray) -> np.ndarray:
    """Returns how many n-grams texts of so many code points have, at least 1."""
    counts = np.maximum(sizes[:, None] - np.array(ORDERS) + 1, 0).sum(axis=1)
    return np.asarray(np.maximum(counts, 1))
