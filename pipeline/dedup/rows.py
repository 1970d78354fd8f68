"""The rows that take part in near-duplicate detection: their ids, their order of priority, their doubles.

Priority, best first: a resolved ticket, a longer answer, a newer one, the smaller id.
Output contract: rows are numbered in the order of the parts; nothing else here depends on how the parts are cut.
This module reads the band tables that `near` writes, and of them only what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import IntegrityError
from pipeline.run import Run


@dataclass(frozen=True)
class Rows:
    """The rows of all parts, numbered in the order of the parts: what is known of each beside its sets and keys."""

    ids: pa.Array
    id_rank: np.ndarray
    rank: np.ndarray  # 0: the row one would keep before all others
    sizes: np.ndarray  # distinct shingles
    double: np.ndarray  # the number of the best row with the same shingle set: its own, if it is that row

    @property
    def distinct(self) -> np.ndarray:
        """The numbers of the rows that enter the bands, best first."""
        numbers = np.flatnonzero((self.double == np.arange(len(self.double))) & (self.sizes > 0))
        return np.asarray(numbers[np.argsort(self.rank[numbers])])


def read_rows(run: Run, paths: Sequence[str]) -> Rows:
    """Reads the band tables at `paths`, at least one; raises `IntegrityError` when an id occurs twice."""
    names = ["id", "resolved", "length", "created_at", "size", "digest"]
    table = pa.concat_tables([run.read_table(path, columns=names) for path in paths]).combine_chunks()
    ids = table["id"].combine_chunks() if table.num_rows else pa.array([], pa.string())
    by_id = np.asarray(pc.sort_indices(ids))
    ordered = ids.take(pa.array(by_id))
    twice = ordered[1:].filter(pc.equal(ordered[1:], ordered[:-1])) if len(ids) else ids
    if len(twice):
        raise IntegrityError(f"two unmarked rows have the id {twice[0]}: exact duplicates must be marked before")
    id_rank = np.empty(len(ids), dtype=np.int64)
    id_rank[by_id] = np.arange(len(ids))
    created = np.asarray(pc.fill_null(pc.cast(table["created_at"], pa.int64()), -(1 << 62)))
    resolved = np.asarray(pc.fill_null(table["resolved"], False))
    by_rank = np.lexsort((id_rank, -created, -np.asarray(table["length"], dtype=np.int64), ~resolved))
    rank = np.empty(len(ids), dtype=np.int64)
    rank[by_rank] = np.arange(len(ids))
    sizes = np.asarray(table["size"], dtype=np.int64)
    return Rows(ids, id_rank, rank, sizes, _doubles(table["digest"], rank, sizes))


def _doubles(digests: pa.ChunkedArray, rank: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns for each row the number of the best-ranked one with the same set; a row without a shingle is its own."""
    number = np.arange(len(rank))
    if not len(rank):
        return number
    words = np.frombuffer(b"".join(digests.to_pylist()), dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((rank, words[:, 0], words[:, 1]))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1)
    double = np.empty_like(number)
    double[order] = order[new][np.cumsum(new) - 1]
    return np.where(sizes > 0, double, number)
