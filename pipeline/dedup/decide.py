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
from pipeline.dedup.rows import Rows

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Exact Jaccard similarity (float32) of the rows `a[i]` and `b[i]`, for every i."""


def judge(rows: Rows, edges: Edges, settings: Dedup, similarity: Similarity) -> tuple[Kept, np.ndarray]:
    """Returns what becomes of every row and the component of each.

    A row with a double of better rank fares as the double does: it has the same set, so the same edges; it repeats the
    double itself if that is kept, and what the double repeats if not. `similarity` is asked in mode `components` only.
    """
    number = np.arange(len(rows))
    component = cluster.components(len(rows), edges)[rows.double]
    if settings.mode == "star":
        kept_rows = cluster.star(len(rows), edges, rows.rank, rows.own)
    else:
        twin = cluster.best_of_component(component, rows.rank)
        kept = (twin == number) | rows.earlier
        jaccard = np.zeros(len(rows), np.float32)
        asked = np.flatnonzero(~kept & (rows.double == number))
        jaccard[asked] = similarity(asked, twin[asked])
        kept_rows = Kept(kept, twin, jaccard)
    spare = rows.double != number
    repeats_double = spare & kept_rows.kept[rows.double]
    twin = np.where(repeats_double, rows.double, kept_rows.twin[rows.double])
    jaccard = np.where(repeats_double, np.float32(1), kept_rows.jaccard[rows.double])
    return Kept(kept_rows.kept & (~spare | rows.earlier), twin, jaccard), component


def table(rows: Rows, judged: Kept, component: np.ndarray, names: Sequence[str | None]) -> pa.Table:
    """Returns DECISIONS; `names` are those of the earlier indices."""
    mine = slice(rows.own, None)
    empty = rows.sizes[mine] == 0
    kept = judged.kept[mine] & ~empty
    near = ~kept & ~empty
    twin = pa.array(judged.twin[mine], mask=~near)
    earlier = near & (judged.twin[mine] < rows.own)
    source = rows.source[judged.twin[mine][earlier]]
    twin_run = np.full(len(kept), len(names), dtype=np.int64)
    twin_run[earlier] = source
    arrays = [
        rows.ids[mine],
        pa.array(kept),
        rows.ids.take(twin),
        pa.array([*names, None], pa.string()).take(pa.array(twin_run)),
        pa.array(judged.jaccard[mine], pa.float32(), mask=~near),
        _groups(rows, component),
        pa.array(["near_duplicate", "empty_text"]).take(pa.array(np.where(near, 0, 1), mask=kept)),
    ]
    return pa.Table.from_arrays(arrays, schema=DECISIONS).take(pa.array(np.argsort(rows.id_rank[mine])))


def _groups(rows: Rows, component: np.ndarray) -> pa.Array:
    """Returns the group of each of the run's own rows."""
    count = len(rows)
    by_id, by_rank = np.empty(count, np.int64), np.empty(count, np.int64)
    by_id[rows.id_rank], by_rank[rows.rank] = np.arange(count), np.arange(count)
    smallest = np.full(count, count, dtype=np.int64)
    np.minimum.at(smallest, component[rows.own :], rows.id_rank[rows.own :])
    best = np.full(count, count, dtype=np.int64)
    valid = np.flatnonzero(rows.sizes[: rows.own])
    np.minimum.at(best, component[valid], rows.rank[valid])
    leader = best[component[rows.own :]]
    earlier = leader < count
    named = rows.groups.take(pa.array(by_rank[np.where(earlier, leader, 0)], mask=~earlier))
    return pc.coalesce(named, rows.ids.take(pa.array(by_id[smallest[component[rows.own :]]])))
