"""From verified pairs to decisions: which rows stay, which repeat one that stays, which belong together.

Output contract: of two rows joined by an edge at most one is kept, `fixed` rows excepted; a row that `star` drops names
a kept one it has an edge to. All functions are pure, and their result does not depend on the order of the edges.
Memory: some 40 bytes an edge. This module does not read files.
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


@dataclass(frozen=True)
class Kept:
    """The outcome of every row."""

    kept: np.ndarray  # bool (rows,)
    twin: np.ndarray  # the kept row that a dropped one repeats, else -1: int64 (rows,)
    jaccard: np.ndarray  # of the two, else 0: float32 (rows,)


def components(n: int, edges: Edges) -> np.ndarray:
    """Returns the connected component of each of `n` rows: int32 (n,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges.a), dtype=np.int8), (edges.a, edges.b)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1])


def star(n: int, edges: Edges, rank: np.ndarray, fixed: int = 0) -> Kept:
    """Visits the rows by `rank` (0 is best, all distinct) and keeps each without an edge to a kept row. The twin of a
    dropped row is its most similar kept neighbour, of several the best-ranked. The first `fixed` rows are kept."""
    first = rank[edges.a] < rank[edges.b]
    better, worse = np.where(first, edges.a, edges.b), np.where(first, edges.b, edges.a)
    droppable = worse >= fixed
    better, worse = better[droppable], worse[droppable]
    starts = np.concatenate(([0], np.cumsum(np.bincount(better, minlength=n))))
    worse = worse[np.argsort(better, kind="stable")]
    kept = np.ones(n, dtype=bool)
    heads = np.flatnonzero(np.diff(starts))
    for row in heads[np.argsort(rank[heads])].tolist():
        if kept[row]:  # a kept neighbour that ranks higher would have dropped this row: all that are left rank lower
            kept[worse[starts[row] : starts[row + 1]]] = False
    return _nearest(n, edges, rank, kept)


def _nearest(n: int, edges: Edges, rank: np.ndarray, kept: np.ndarray) -> Kept:
    """Gives every dropped row the kept neighbour with the greatest (similarity, priority), as one integer each."""
    best = np.zeros(n, dtype=np.uint64)
    for row, other in ((edges.a, edges.b), (edges.b, edges.a)):
        links = np.flatnonzero(~kept[row] & kept[other])
        similar = edges.jaccard[links].view(np.uint32).astype(np.uint64)  # floats above 0 sort as their bits do
        np.maximum.at(best, row[links], similar << np.uint64(32) | (n - rank[other[links]]).astype(np.uint64))
    by_rank = np.empty(n, dtype=np.int64)
    by_rank[rank] = np.arange(n)
    has_twin = best > 0
    twin = np.full(n, -1, dtype=np.int64)
    twin[has_twin] = by_rank[n - (best[has_twin] & np.uint64((1 << 32) - 1)).astype(np.int64)]
    return Kept(kept, twin, (best >> np.uint64(32)).astype(np.uint32).view(np.float32))


def best_of_component(component: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Returns the best-ranked row of each row's component: int64 (rows,)."""
    order = np.argsort(rank)
    best = np.empty(len(rank), dtype=np.int64)
    best[component[order[::-1]]] = order[::-1]  # the best comes last, and last write wins
    return np.asarray(best[component])
