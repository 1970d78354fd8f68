"""The rows of near-duplicate detection: their ids, their priority, their doubles (rows with the same shingle set).

Priority, best first: rows of earlier indices in the order of the indices; then a resolved ticket. Of two resolved ones
the newer comes first, for its answer is the one that holds today, then the longer answer; of two others the longer
answer, then the newer. At last the smaller id.
Output contract: rows are numbered in the order of the parts, earlier indices first, the run's own rows last; nothing
else here depends on how the parts are cut.
This module reads the band tables that `near` writes, and of them only what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.index import Index, Part, kept_groups
from pipeline.errors import IntegrityError

READ = pa.schema(
    {
        "id": pa.string(),
        "resolved": pa.bool_(),
        "length": pa.int32(),
        "created_at": pa.timestamp("us", tz="UTC"),
        "size": pa.int32(),
        "digest": pa.binary(16),
    }
)


@dataclass(frozen=True)
class Rows:
    """The rows of all parts; arrays are int64 (rows,) unless stated otherwise."""

    ids: pa.Array
    starts: np.ndarray  # the first row of every part, and the number of rows: (parts + 1,)
    shingle_offsets: np.ndarray  # the first shingle of every part, and the number of shingles: (parts + 1,)
    first_own: int  # the first of the run's own rows: those before it are earlier ones
    source: np.ndarray  # the index of each earlier row, int32 (first_own,)
    groups: pa.Array  # of the earlier rows; null where their own run did not keep them: such a row is ignored
    id_rank: np.ndarray
    rank: np.ndarray  # 0: the row of highest priority
    sizes: np.ndarray  # distinct shingles; 0 also for an earlier row that was not kept
    double: np.ndarray  # the best row with the same shingle set, perhaps the row itself

    def __len__(self) -> int:
        return len(self.rank)

    @property
    def distinct(self) -> np.ndarray:
        """The rows that enter the bands, best first: int64 (distinct,)."""
        numbers = np.flatnonzero((self.double == np.arange(len(self))) & (self.sizes > 0))
        return np.asarray(numbers[np.argsort(self.rank[numbers])])

    @property
    def earlier(self) -> np.ndarray:
        """Whether each row is an earlier one, which is always kept: bool (rows,)."""
        return np.asarray(np.arange(len(self)) < self.first_own)


def read_rows(earlier: Sequence[Index], parts: Sequence[Part]) -> Rows:
    """Reads the band tables of the indices and of the run's own `parts`; raises `IntegrityError` when the run has an
    id twice."""
    tables = [[part.run.read_table(part.bands, columns=READ.names) for part in index.parts] for index in earlier]
    tables.append([part.run.read_table(part.bands, columns=READ.names) for part in parts])
    counts = [sum(table.num_rows for table in group) for group in tables]
    starts = np.concatenate(([0], np.cumsum([table.num_rows for group in tables for table in group], dtype=np.int64)))
    table = pa.concat_tables([READ.empty_table(), *(table for group in tables for table in group)])
    ids = pa.concat_arrays(table["id"].chunks)
    first_own = sum(counts[:-1])
    source = np.repeat(np.arange(len(tables), dtype=np.int32), counts)
    cuts = np.cumsum(counts[:-1])
    kept = [
        kept_groups(index, ids[cut - count : cut]) for index, cut, count in zip(earlier, cuts, counts[:-1], strict=True)
    ]
    groups = pa.concat_arrays([pa.array([], pa.string()), *kept])
    sizes = np.asarray(table["size"], dtype=np.int64)
    offsets = np.concatenate(([0], np.cumsum(sizes)))[starts]
    sizes[:first_own][np.asarray(pc.is_null(groups), dtype=bool)] = 0
    id_rank = _id_rank(ids, first_own)
    rank = _rank(table, source, id_rank)
    double = _doubles(table["digest"], rank, sizes)
    return Rows(ids, starts, offsets, first_own, source[:first_own], groups, id_rank, rank, sizes, double)


def _id_rank(ids: pa.Array, first_own: int) -> np.ndarray:
    by_id = np.asarray(pc.sort_indices(ids)).astype(np.int64)
    mine = by_id[by_id >= first_own]
    ordered = ids.take(pa.array(mine))
    twice = ordered[1:].filter(pc.equal(ordered[1:], ordered[:-1])) if len(ordered) else ordered
    if len(twice):
        raise IntegrityError(f"two unmarked rows have the id {twice[0]}: exact duplicates must be marked before")
    return positions(by_id)


def positions(order: np.ndarray) -> np.ndarray:
    """Returns the position of each number in `order`, a permutation: int64 (rows,)."""
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    return position


def _rank(table: pa.Table, source: np.ndarray, id_rank: np.ndarray) -> np.ndarray:
    created = np.asarray(pc.fill_null(pc.cast(table["created_at"], pa.int64()), -(1 << 62)))
    resolved = np.asarray(pc.fill_null(table["resolved"], False), dtype=bool)
    length = np.asarray(table["length"], dtype=np.int64)
    first, second = np.where(resolved, -created, -length), np.where(resolved, -length, -created)
    return positions(np.lexsort((id_rank, second, first, ~resolved, source)))


def _doubles(digests: pa.ChunkedArray, rank: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns each row's best-ranked row with the same set, int64 (rows,); the row itself where it has no shingle."""
    double = np.arange(len(rank))
    full = np.flatnonzero(sizes)
    if not len(full):
        return double
    words = np.concatenate([_words(chunk) for chunk in digests.chunks if len(chunk)])[full]
    order = np.lexsort((rank[full], words[:, 0], words[:, 1]))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1)
    double[full[order]] = full[order[new]][np.cumsum(new) - 1]
    return double


def _words(chunk: pa.FixedSizeBinaryArray) -> np.ndarray:
    """Returns 16-byte digests as uint64 (rows, 2), without a Python object per row."""
    data = np.frombuffer(chunk.buffers()[1], dtype=np.uint64)
    return np.asarray(data[2 * chunk.offset : 2 * (chunk.offset + len(chunk))].reshape(-1, 2))
