"""Texts -> sets of word shingles, as 63-bit hashes, whole batches at a time.

A text is normalised (NFKC, lower case) and cut into words (`\\w+`); every run of `words` consecutive words is a
shingle. A text with fewer words is one shingle; one without a word has none.
Output contract: the same text gives the same hashes in every process, batch and machine; two different shingles share a
hash with probability 2**-63. Hashes of one text are sorted and distinct.
This module does not read files and keeps no text.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.batch import slices

CHARACTERS = 1 << 20  # hashed at a time: bounds memory at about 60 MB whatever the batch

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so multiplying by it loses nothing
_SIGN = np.uint64((1 << 63) - 1)  # 63 bits: scipy takes them as column numbers


@dataclass(frozen=True)
class Shingles:
    """CSR: row i has `values[offsets[i]:offsets[i + 1]]` (uint64 below 2**63, sorted, distinct); offsets are int64."""

    values: np.ndarray
    offsets: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Shingles of each set: int64 (sets,)."""
        return np.diff(self.offsets)

    def to_arrow(self) -> pa.Array:
        """Returns the sets as a large list of int64, one entry per set."""
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.values))

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray) -> Shingles:
        """Reads back a column that `to_arrow` made."""
        sizes = [np.diff(np.asarray(chunk.offsets)) for chunk in column.chunks]
        values = [np.asarray(chunk.flatten()) for chunk in column.chunks]
        return cls(_joined(values, np.uint64), offsets_of(_joined(sizes, np.int64)))


def _joined(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(arrays).astype(dtype, copy=False) if arrays else np.empty(0, dtype)


def concat(sets: Sequence[Shingles]) -> Shingles:
    """Returns the rows of all sets, in order."""
    sizes = _joined([each.sizes for each in sets], np.int64)
    return Shingles(_joined([each.values for each in sets], np.uint64), offsets_of(sizes))


def offsets_of(sizes: np.ndarray) -> np.ndarray:
    """Returns CSR offsets (int64, one more than `sizes`) of rows with so many entries."""
    return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))


def shingle(texts: Sequence[str], words: int) -> Shingles:
    """Returns the shingle sets of `texts`, one row per text."""
    return concat([_shingle(texts[cut], words) for cut in slices(map(len, texts), CHARACTERS)])


def _shingle(texts: Sequence[str], words: int) -> Shingles:
    tokens, counts = _tokens([unicodedata.normalize("NFKC", text).lower() for text in texts])
    sizes = np.where(counts > 0, np.maximum(counts - words + 1, 1), 0)
    offsets = offsets_of(sizes)
    row = np.repeat(np.arange(len(texts)), sizes)
    first = np.arange(len(row)) - offsets[row] + offsets_of(counts)[row]  # each shingle's first token
    hashes = tokens[first]
    for step in range(1, words):
        longer = mix(hashes * _BASE + tokens[np.minimum(first + step, len(tokens) - 1)])
        hashes = np.where(step < counts[row], longer, hashes)  # a short text's one shingle ends with the text
    hashes &= _SIGN
    for start, stop in itertools.pairwise(offsets.tolist()):
        hashes[start:stop].sort()
    distinct = np.ones(len(hashes), dtype=bool)
    distinct[1:] = (hashes[1:] != hashes[:-1]) | (row[1:] != row[:-1])
    return Shingles(hashes[distinct], offsets_of(np.bincount(row[distinct], minlength=len(texts))))


def _tokens(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the hash of every word, uint64 (words,), and the number of words of each text, int64 (texts,)."""
    codes = np.frombuffer("\n".join(texts).encode("utf-32-le"), dtype=np.uint32)
    inside = np.zeros(len(codes) + 1, dtype=bool)
    inside[1:] = _word_characters()[codes]
    begins = inside[1:] & ~inside[:-1]
    letters = codes[inside[1:]].astype(np.uint64)
    first = np.flatnonzero(begins[inside[1:]])
    lengths = np.diff(np.append(first, len(letters)))
    if not len(first):
        return np.empty(0, np.uint64), np.zeros(len(texts), np.int64)
    position = np.arange(len(letters)) - np.repeat(first, lengths)
    powers = np.full(int(lengths.max()), _BASE).cumprod(dtype=np.uint64)
    hashes = np.add.reduceat(letters * powers[position], first)
    ends = np.cumsum([len(text) + 1 for text in texts])
    text_of = np.searchsorted(ends, np.flatnonzero(begins), side="right")
    return mix(hashes), np.bincount(text_of, minlength=len(texts))


@functools.cache
def _word_characters() -> np.ndarray:
    """Returns whether `\\w` matches each code point: bool (code points,)."""
    table = np.zeros(sys.maxunicode + 1, dtype=bool)
    for run in re.finditer(r"\w+", "".join(map(chr, range(sys.maxunicode + 1)))):
        table[run.start() : run.end()] = True
    return table


def mix(values: np.ndarray) -> np.ndarray:
    """Returns the values through SplitMix64's finaliser, uint64: a bijection that spreads every bit over all others."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))
