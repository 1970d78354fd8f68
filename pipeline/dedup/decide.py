"""One decision per row, out of the verified edges.

Output contract: DECISIONS of the run's own rows, sorted by id. A dropped row names a kept row and its exact similarity
with it. A component takes the name (`group`) of its best earlier row, or else its smallest id.
This module reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Dedup
from pipeline.dedup import cluster
from pipeline.dedup.cluster import Edges, Kept
from pipeline.dedup.index import DECISIONS
from pipeline.dedup.rows import Rows, positions

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Exact Jaccard similarity (float32) of the rows `a[i]` and `b[i]`, for every i."""


def resolve(rows: Rows, edges: Edges, settings: Dedup, similarity: Similarity) -> tuple[Kept, np.ndarray]:
    """Returns the outcome of every row, and its component, int32 (rows,).

    A row with a double of better rank has the same set, and so the same edges and outcome: it repeats the double if
    that is kept, and the double's twin if not. `similarity` is called in mode `components` only.
    """
    number = np.arange(len(rows))
    component = cluster.components(len(rows), edges)[rows.double]
    if settings.mode == "star":
        kept_rows = cluster.star(len(rows), edges, rows.rank, rows.first_own)
    else:
        twin = cluster.best_of_component(component, rows.rank)
        kept = (twin == number) | rows.earlier
        jaccard = np.zeros(len(rows), np.float32)
        dropped = np.flatnonzero(~kept & (rows.double == number))
        jaccard[dropped] = similarity(dropped, twin[dropped])
        kept_rows = Kept(kept, twin, jaccard)
    spare = rows.double != number
    repeats_double = spare & kept_rows.kept[rows.double]
    twin = np.where(repeats_double, rows.double, kept_rows.twin[rows.double])
    jaccard = np.where(repeats_double, np.float32(1), kept_rows.jaccard[rows.double])
    return Kept(kept_rows.kept & (~spare | rows.earlier), twin, jaccard), component


def table(rows: Rows, outcome: Kept, component: np.ndarray, names: Sequence[str | None]) -> pa.Table:
    """Returns DECISIONS; `names` are those of the earlier indices."""
    mine = slice(rows.first_own, None)
    empty = rows.sizes[mine] == 0
    kept = outcome.kept[mine] & ~empty
    near = ~kept & ~empty
    twin = pa.array(outcome.twin[mine], mask=~near)
    earlier = near & (outcome.twin[mine] < rows.first_own)
    source = rows.source[outcome.twin[mine][earlier]]
    twin_run = np.full(len(kept), len(names), dtype=np.int64)
    twin_run[earlier] = source
    arrays = [
        rows.ids[mine],
        pa.array(kept),
        rows.ids.take(twin),
        pa.array([*names, None], pa.string()).take(pa.array(twin_run)),
        pa.array(outcome.jaccard[mine], pa.float32(), mask=~near),
        _groups(rows, component),
        pa.array(["near_duplicate", "empty_text"]).take(pa.array(np.where(near, 0, 1), mask=kept)),
    ]
    return pa.Table.from_arrays(arrays, schema=DECISIONS).take(pa.array(np.argsort(rows.id_rank[mine])))


def _groups(rows: Rows, component: np.ndarray) -> pa.Array:
    """Returns the group of each of the run's own rows."""
    count = len(rows)
    by_id, by_rank = positions(rows.id_rank), positions(rows.rank)
    smallest = np.full(count, count, dtype=np.int64)
    np.minimum.at(smallest, component[rows.first_own :], rows.id_rank[rows.first_own :])
    best = np.full(count, count, dtype=np.int64)
    valid = np.flatnonzero(rows.sizes[: rows.first_own])
    np.minimum.at(best, component[valid], rows.rank[valid])
    leader = best[component[rows.first_own :]]
    earlier = leader < count
    named = rows.groups.take(pa.array(by_rank[np.where(earlier, leader, 0)], mask=~earlier))
    return pc.coalesce(named, rows.ids.take(pa.array(by_id[smallest[component[rows.first_own :]]])))
