"""Exact word-3-gram Jaccard between tickets, through an inverted index.

Contract: `shingles(text)` follows the project's near-duplicate definition (NFKC, lower case, tokens `\\w+`, word
3-grams; a text of fewer than three tokens is one shingle). `Index.nearest` is exact: no hashing, no sampling.
Not here: any choice of thresholds, any knowledge of tickets.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict

Shingles = frozenset[tuple[str, ...]]


def shingles(text: str) -> Shingles:
    """Set of word 3-grams of `text`."""
    tokens = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())
    if len(tokens) < 3:
        return frozenset([tuple(tokens)])
    return frozenset(zip(tokens, tokens[1:], tokens[2:], strict=False))


def jaccard(left: Shingles, right: Shingles) -> float:
    """|intersection| / |union| of two shingle sets."""
    common = len(left & right)
    return common / (len(left) + len(right) - common)


class Index:
    """Documents by number, searchable for the one with the highest Jaccard."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._postings: dict[tuple[str, ...], list[int]] = defaultdict(list)

    def add(self, text: str) -> int:
        """Store `text`; returns its number (0, 1, 2, ... in order of insertion)."""
        number = len(self._sizes)
        grams = shingles(text)
        self._sizes.append(len(grams))
        for gram in grams:
            self._postings[gram].append(number)
        return number

    def nearest(self, text: str, ignore: int | None = None) -> tuple[float, int | None]:
        """Highest Jaccard between `text` and any stored document but `ignore`, with that document's number."""
        grams = shingles(text)
        common = Counter(number for gram in grams for number in self._postings.get(gram, ()))
        best: tuple[float, int | None] = (0.0, None)
        for number, count in common.items():
            score = count / (len(grams) + self._sizes[number] - count)
            if number != ignore and score > best[0]:
                best = (score, number)
        return best
