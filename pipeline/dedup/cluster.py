"""From verified pairs to decisions: which rows stay, which repeat one that stays, which belong together.

Output contract: of two rows joined by an edge at most one is kept; a dropped row names a kept one it has an edge to.
Both functions are pure, and their result does not depend on the order of the edges. This module does not read files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Edges:
    """Verified pairs: rows `a[i]` and `b[i]` (integers, a != b) have Jaccard similarity `jaccard[i]` (float32)."""

    a: np.ndarray
    b: np.ndarray
    jaccard: np.ndarray

    def both_ways(self) -> Edges:
        """Returns every edge twice, once from each end."""
        a, b = np.concatenate((self.a, self.b)), np.concatenate((self.b, self.a))
        return Edges(a, b, np.concatenate((self.jaccard, self.jaccard)))


@dataclass(frozen=True)
class Star:
    """One entry per row: is it kept; if not, which kept row it repeats (else -1); how similar the two are (else 0)."""

    kept: np.ndarray
    twin: np.ndarray
    jaccard: np.ndarray


def components(n: int, edges: Edges) -> np.ndarray:
    """Returns the number of the connected component of each of `n` rows (int32)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges.a), dtype=np.int8), (edges.a, edges.b)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1])


def star(n: int, edges: Edges, rank: np.ndarray) -> Star:
    """Goes through the rows from the best `rank` (0, all distinct) on and keeps each that no kept row is an edge away
    from; a dropped row's twin is the kept one most similar to it, of several the best-ranked."""
    both = edges.both_ways()
    by_row = np.argsort(both.a, kind="stable")
    neighbours = both.b[by_row]
    starts = np.searchsorted(both.a[by_row], np.arange(n + 1))
    kept = np.ones(n, dtype=bool)
    touched = np.flatnonzero(np.diff(starts))
    for row in touched[np.argsort(rank[touched])].tolist():
        if kept[row]:  # a neighbour that ranks higher and is kept would have dropped this row: all of these rank lower
            kept[neighbours[starts[row] : starts[row + 1]]] = False
    twin = np.full(n, -1, dtype=np.int64)
    jaccard = np.zeros(n, dtype=np.float32)
    links = np.flatnonzero(~kept[both.a] & kept[both.b])
    links = links[np.lexsort((-rank[both.b[links]], both.jaccard[links]))]  # the best comes last, and last write wins
    twin[both.a[links]] = both.b[links]
    jaccard[both.a[links]] = both.jaccard[links]
    return Star(kept, twin, jaccard)
