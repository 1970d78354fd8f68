"""Candidate pairs and verified edges, a Ray task per few band columns and per block of rows.

Output contract: `candidates` leaves every pair of rows that share a band key (in buckets over the cap: some of them),
once, in `pairs/`; `verified` turns what lies there into `edges/`: the pairs whose exact Jaccard similarity reaches a
threshold, and who ask the same (`verify.same_question`). Rows are numbered in the order of the parts. A pair is one
integer, the lower number in its upper half; its file is named by the block of the lower row. Nothing depends on how
many tasks the work is cut into.
Memory: a task holds a few band columns and their pairs, or two blocks of `BLOCK` shingles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import batch
from pipeline.batch import each, shared
from pipeline.config import Dedup
from pipeline.dedup import bands, cluster, shingles, verify
from pipeline.dedup.index import Part
from pipeline.dedup.rows import Rows
from pipeline.run import Run

BLOCK = 1 << 23  # shingles that `verify` loads at a time, 64 MB; parts are never cut

WHOLE, QUESTION = "shingles", "question"  # columns of a shingle table; a document has no question

_HALF = np.uint64(32)
_LOWER = np.uint64((1 << 32) - 1)


@dataclass(frozen=True)
class Blocks:
    """Groups of consecutive parts. `cuts`: the first part of every block, and the number of parts. `starts`: the first
    row of every part, and the number of rows, int64 (parts + 1,)."""

    parts: tuple[Part, ...]
    starts: np.ndarray
    cuts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.cuts) - 1

    @property
    def first(self) -> np.ndarray:
        """The first row of every block, and the number of rows: int64 (blocks + 1,)."""
        return np.asarray(self.starts[list(self.cuts)])

    def load(self, block: int, column: str = WHOLE) -> shingles.Shingles:
        """Returns the shingle sets of a block's rows, in the order of the parts."""
        parts = self.parts[self.cuts[block] : self.cuts[block + 1]]
        return shingles.concat([read_sets(part, column) for part in parts])


def read_sets(part: Part, column: str = WHOLE) -> shingles.Shingles:
    """Returns the shingle sets of a part's rows, one set per row: of the whole text, or of the question alone."""
    return shingles.Shingles.from_arrow(part.run.read_table(part.shingles, columns=[column])[column])


def split_blocks(parts: Sequence[Part], rows: Rows) -> Blocks:
    """Returns blocks of at most `BLOCK` shingles, a single part excepted."""
    cuts = (parts_of_block.start for parts_of_block in batch.slices(np.diff(rows.shingle_offsets).tolist(), BLOCK))
    return Blocks(tuple(parts), rows.starts, (*cuts, len(parts)))


# -- candidates -------------------------------------------------------------------------------------------------------


def candidates(run: Run, folder: str, blocks: Blocks, rows: Rows, settings: Dedup) -> dict[str, int]:
    """Writes the candidate pairs; returns the report on buckets over the cap: their number over all bands, the rows in
    them, the size of the largest bucket."""
    columns = np.array_split(np.arange(settings.bands), min(settings.bands, 2 * batch.cpus()))
    common = shared((blocks, rows.distinct, rows.sizes, settings, bands.CAP))
    counts = each(_pairs, [(run, folder, task, chosen, common) for task, chosen in enumerate(columns)])
    inside = np.zeros(len(rows), dtype=bool)
    for _, crowded, _ in counts:
        inside[crowded] = True
    largest = max((largest for _, _, largest in counts), default=0)
    return {"buckets": sum(buckets for buckets, _, _ in counts), "rows": int(inside.sum()), "largest": largest}


def _pairs(run: Run, folder: str, task: int, columns: np.ndarray, common: Any) -> tuple[int, np.ndarray, int]:
    """Writes the pairs of a few band columns, a file per block; returns the number of buckets over the cap, the rows in
    them, and the size of the largest bucket. Sizes alone rule out a pair whose smaller set is too small for the
    threshold."""
    blocks, distinct, sizes, settings, cap = common
    last = [(columns[-1] + step) % settings.bands for step in range(1, min(bands.FINER, settings.bands - 1) + 1)]
    names = [band_name(column) for column in [*columns, *last]]
    table = pa.concat_tables([part.run.read_table(part.bands, columns=sorted({*names})) for part in blocks.parts])
    pairs = np.empty(0, dtype=np.uint64)
    crowded = np.zeros(len(distinct), dtype=bool)
    buckets = largest = 0
    keys = [np.asarray(table[name])[distinct] for name in names]
    for band in range(len(columns)):
        inside, count, size = bands.crowded(keys[band], cap)
        crowded, buckets, largest = crowded | inside, buckets + count, max(largest, size)
        merged = [pairs]
        for better, worse in bands.pairs(keys[band : band + len(last) + 1], cap):
            a, b = distinct[better], distinct[worse]
            close = np.minimum(sizes[a], sizes[b]) >= settings.threshold * np.maximum(sizes[a], sizes[b])
            merged.append(encode(a[close], b[close]))
        pairs = _distinct(np.concatenate(merged))
    write_pairs(run, folder, task, blocks, pairs)
    return buckets, distinct[crowded], largest


def band_name(number: int) -> str:
    """Returns the name of a band's column: `band_07`."""
    return f"band_{number:02d}"


def encode(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns each pair of rows as one integer, in either order: uint64 (pairs,)."""
    low, high = np.minimum(a, b).astype(np.uint64), np.maximum(a, b).astype(np.uint64)
    return np.asarray(low << _HALF | high)


def decode(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lower and the higher row of each encoded pair, int64 (pairs,) each."""
    return (pairs >> _HALF).astype(np.int64), (pairs & _LOWER).astype(np.int64)


def write_pairs(run: Run, folder: str, task: int, blocks: Blocks, pairs: np.ndarray) -> None:
    """Writes sorted pairs, a file per block of the lower row."""
    bounds = np.searchsorted(pairs, blocks.first.astype(np.uint64) << _HALF)
    for block in range(len(blocks)):
        chosen = pa.table({"pair": pairs[bounds[block] : bounds[block + 1]]})
        run.write_table(_pair_file(folder, block, task), chosen)


def _pair_file(folder: str, block: int, task: int) -> str:
    return f"{folder}/pairs/{block:05d}-{task:05d}.parquet"


def _distinct(values: np.ndarray) -> np.ndarray:
    """Sorts `values` in place and returns each once; np.unique hashes them, 30 times slower on millions of pairs."""
    values.sort()
    first = np.ones(len(values), dtype=bool)
    first[1:] = values[1:] != values[:-1]
    return np.asarray(values[first])


# -- edges ------------------------------------------------------------------------------------------------------------


def verified(
    run: Run, folder: str, kind: str, blocks: Blocks, threshold: float
) -> tuple[tuple[int, int], cluster.Edges]:
    """Verifies the pairs in `pairs/`, which are deleted, and writes those that reach the threshold to `kind/`; returns
    the number of pairs, of those that their questions alone keep apart, and the edges."""
    tasks = len({path.rsplit("-", 1)[1] for path in run.list(f"{folder}/pairs")})
    counts = each(_verify, [(run, folder, kind, tasks, block, blocks, threshold) for block in range(len(blocks))])
    run.delete(f"{folder}/pairs")
    tables = [run.read_table(edge_file(folder, kind, block)) for block in range(len(blocks))]
    columns = [np.concatenate([np.asarray(table[name]) for table in tables]) for name in ("a", "b", "jaccard")]
    pairs, apart = (sum(count[side] for count in counts) for side in (0, 1))
    return (pairs, apart), cluster.Edges(*columns)


def edge_file(folder: str, kind: str, block: int) -> str:
    """Returns the path in the run of a block's edges of a kind."""
    return f"{folder}/{kind}/{block:05d}.parquet"


def _verify(
    run: Run, folder: str, kind: str, tasks: int, block: int, blocks: Blocks, threshold: float
) -> tuple[int, int]:
    """Writes the edges whose lower row is in `block`; returns the number of pairs checked, and of those apart."""
    files = [run.read_table(_pair_file(folder, block, task)) for task in range(tasks)]
    pairs = _distinct(np.concatenate([np.asarray(file["pair"]) for file in files]))
    a, b = decode(pairs)
    left = blocks.load(block) if len(pairs) else None
    apart = 0
    edges: list[tuple[np.ndarray, ...]] = [(np.empty(0),) * 3]
    for other in range(block, len(blocks)):
        inside = np.flatnonzero((b >= blocks.first[other]) & (b < blocks.first[other + 1]))
        if left is not None and len(inside):
            right = left if other == block else blocks.load(other)
            ours, theirs = a[inside] - blocks.first[block], b[inside] - blocks.first[other]
            jaccard = verify.jaccard(left, right, ours, theirs)
            reached = np.flatnonzero(jaccard >= threshold)
            if len(reached):
                whole = left.sizes[ours[reached]] + right.sizes[theirs[reached]]
                questions = blocks.load(block, QUESTION), blocks.load(other, QUESTION)
                same = verify.same_question(*questions, ours[reached], theirs[reached], whole, threshold)
                apart += int((~same).sum())
                reached = reached[same]
            edges.append((a[inside][reached], b[inside][reached], jaccard[reached]))
    types = {"a": pa.uint32(), "b": pa.uint32(), "jaccard": pa.float32()}
    columns = zip(*edges, strict=True)
    arrays = [pa.array(np.concatenate(c)).cast(t) for c, t in zip(columns, types.values(), strict=True)]
    run.write_table(edge_file(folder, kind, block), pa.table(arrays, names=list(types)))
    return len(pairs), apart
