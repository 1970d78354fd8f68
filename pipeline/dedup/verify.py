"""Exact Jaccard similarity of pairs of shingle sets, and whether two rows ask the same.

Output contract: |A and B| / |A or B| of the very sets, as float64, one per pair, in the order of the pairs. A canned
answer makes tickets alike whatever was asked: where the answers are longer than the questions, these are compared too.
This module decides nothing and does not read files.
"""

from __future__ import annotations

import itertools

import numpy as np

from pipeline.dedup.shingles import Shingles

VALUES = 1 << 22  # shingles merged at a time: bounds memory at about 150 MB whatever the pairs
ASKED = 0.5  # similarity of questions, where the threshold is not lower: another word in eleven leaves 0.5


def jaccard(left: Shingles, right: Shingles, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the similarity of rows `a[i]` of `left` and `b[i]` of `right`: float64 (pairs,). No row may be empty."""
    sizes = left.sizes[a] + right.sizes[b]
    total = np.cumsum(sizes)
    steps = np.arange(VALUES, int(sizes.sum()) + VALUES, VALUES)
    cuts = np.unique([0, *np.searchsorted(total, steps, side="right"), len(a)])
    one, other = _matrix(left), _matrix(right)
    common = np.empty(len(a), dtype=np.int64)
    for start, stop in itertools.pairwise(cuts.tolist()):
        common[start:stop] = np.diff(one[a[start:stop]].multiply(other[b[start:stop]]).indptr)
    return np.asarray(common / (sizes - common))


def same_question(
    left: Shingles, right: Shingles, a: np.ndarray, b: np.ndarray, whole: np.ndarray, threshold: float
) -> np.ndarray:
    """Returns whether the questions `a[i]` of `left` and `b[i]` of `right` are alike: bool (pairs,).

    `whole`: the sizes of both rows' sets, question and answer, added: int64 (pairs,). True where neither has a question
    (documents), or where questions are at least half of it, so that the rows are not alike unless the questions are.
    """
    asked = np.stack((left.sizes[a], right.sizes[b]))
    same = (asked == 0).all(axis=0) | (2 * asked.sum(axis=0) >= whole)
    compared = np.flatnonzero(~same)
    same[compared] = jaccard(left, right, a[compared], b[compared]) >= min(threshold, ASKED)
    return np.asarray(same)


def _matrix(shingles: Shingles):  # type: ignore[no-untyped-def]  # scipy has no types
    """Returns the sets as a sparse matrix of ones whose column numbers are the hashes themselves: scipy merges rows."""
    from scipy.sparse import csr_array

    ones = np.ones(len(shingles.values), dtype=np.int8)
    shape = (len(shingles.offsets) - 1, (1 << 63) - 1)
    matrix = csr_array((ones, shingles.values.view(np.int64), shingles.offsets), shape=shape)
    matrix.has_canonical_format = True
    return matrix
