"""Near duplicates: the recipe, top to bottom.

sketch (a Ray task per part) -> band and shingle tables; pairs (a Ray task per few band columns) -> candidates; verify
(a Ray task per block of rows) -> edges; decide (here) -> one decision per row.
Output contract: of two rows that share a band key and whose exact Jaccard similarity reaches the threshold at most one
is kept, and the other names a kept twin. Decisions depend neither on how rows are spread over parts nor on the cluster.
In the run folder, under `stages/<stage>/`: `bands/` (id, priority, digest of the shingle set, one uint64 key per band),
`shingles/` (the sets) and `edges/` (verified pairs, rows numbered in the order of the parts), all listed as outputs.
Memory: a task holds one part, a few band columns or two blocks of `BLOCK` shingles; this process some 300 bytes a row.
This module starts no Ray, marks no row and does not write the decisions.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import batch, schema
from pipeline.config import Dedup
from pipeline.dedup import bands, cluster, shingles, verify
from pipeline.dedup.rows import Rows, read_rows
from pipeline.run import Run, Stage

BLOCK = 1 << 23  # shingles that `verify` loads at a time, 64 MB; parts are never cut

DECISIONS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("twin", pa.string()),  # the kept row that a near duplicate repeats
        pa.field("jaccard", pa.float32()),  # between the two
        pa.field("group", pa.string(), nullable=False),  # smallest id of the connected component, dropped rows included
        pa.field("reason", pa.string()),  # near_duplicate | empty_text; null: kept
    ]
)


@dataclass(frozen=True)
class Duplicates:
    """`decisions` (DECISIONS, sorted by id) has a row for each one that took part."""

    decisions: pa.Table
    rows: int
    identical: int  # rows whose shingle set another one has as well: collapsed before the bands
    candidates: int  # pairs that were verified
    edges: int  # of them, those that reach the threshold
    capped: int  # buckets too large for all pairs, over all bands


def deduplicate(run: Run, stage: Stage, parts: Sequence[str], settings: Dedup) -> Duplicates:
    """Decides on every unmarked row of `parts` (WORKING, paths in the run). Ray must be up.

    Raises `IntegrityError` when two unmarked rows have the same id: exact duplicates come out first.
    """
    import ray

    if not parts:
        return Duplicates(DECISIONS.empty_table(), rows=0, identical=0, candidates=0, edges=0, capped=0)
    folder = f"stages/{stage.name}"
    perms = bands.permutations(settings.bands * settings.rows)
    counts = _each(_sketch, [(run, part, folder, number, settings, perms) for number, part in enumerate(parts)])
    numbers = range(len(parts))
    run.add(stage, [_path(folder, kind, number) for kind in ("bands", "shingles") for number in numbers])
    rows = read_rows(run, [_path(folder, "bands", number) for number in numbers])
    blocks = _blocks(counts)
    shared = ray.put((rows.distinct, rows.sizes, [block[0].start for block in blocks]))
    columns = np.array_split(np.arange(settings.bands), min(settings.bands, 2 * batch.cpus()))
    places = [(run, folder, len(parts), number, chosen) for number, chosen in enumerate(columns)]
    capped = sum(_each(_pairs, [(*place, settings.threshold, shared) for place in places]))
    tasks = [(run, folder, len(columns), number, blocks, settings.threshold) for number in range(len(blocks))]
    candidates = sum(_each(_verify, tasks))
    run.delete(f"{folder}/pairs")
    paths = [_path(folder, "edges", number) for number in range(len(blocks))]
    run.add(stage, paths)
    edges = _edges(run, paths)
    identical = int((rows.double != np.arange(len(rows.double))).sum())
    return Duplicates(_decide(rows, edges), len(rows.double), identical, candidates, len(edges.a), capped)


def _each(task: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Returns what a Ray task answers to each call, in order."""
    import ray

    remote = ray.remote(num_cpus=1)(task)
    return list(ray.get([remote.remote(*call) for call in calls]))


def _path(folder: str, kind: str, number: int) -> str:
    return f"{folder}/{kind}/{number:05d}.parquet"


# -- sketch -----------------------------------------------------------------------------------------------------------


def _sketch(run: Run, part: str, folder: str, number: int, settings: Dedup, perms: np.ndarray) -> tuple[int, int]:
    """Writes a part's band and shingle tables; returns how many rows and shingles they hold."""
    names = ["id", "prompt", "response", "resolved", "created_at", "stage"]
    table = run.read_table(part, columns=names)
    table = table.filter(pa.array(schema.unmarked(table)))
    texts = pc.binary_join_element_wise(table["prompt"], table["response"], "\n").to_pylist()
    sets = shingles.shingle(texts, settings.shingle_words)
    columns = {
        "id": table["id"],
        "resolved": table["resolved"],
        "length": pc.utf8_length(table["response"]),
        "created_at": table["created_at"],
        "size": pa.array(sets.sizes, pa.int32()),
        "digest": pa.array(_digests(sets), pa.binary(16)),
    }
    keys = np.zeros((settings.bands, table.num_rows), dtype=np.uint64)
    full = sets.sizes > 0
    whole = shingles.Shingles(sets.values, shingles.offsets_of(sets.sizes[full]))
    keys[:, full] = bands.keys(bands.signatures(whole, perms), settings.bands)
    columns.update({_band(band): pa.array(key) for band, key in enumerate(keys)})
    run.write_table(_path(folder, "bands", number), pa.table(columns))
    run.write_table(_path(folder, "shingles", number), pa.table({"shingles": sets.to_arrow()}))
    return table.num_rows, len(sets.values)


def _band(number: int) -> str:
    return f"band_{number:02d}"


def _digests(sets: shingles.Shingles) -> list[bytes]:
    """Returns 16 bytes per row: rows with the same digest have the same shingle set (BLAKE2b)."""
    data = memoryview(sets.values.tobytes())
    cuts = itertools.pairwise((sets.offsets * sets.values.itemsize).tolist())
    return [hashlib.blake2b(data[start:stop], digest_size=16).digest() for start, stop in cuts]


# -- pairs and edges --------------------------------------------------------------------------------------------------


def _blocks(counts: Sequence[tuple[int, int]]) -> list[list[range]]:
    """Returns runs of consecutive parts with at most `BLOCK` shingles, a single part excepted; a part is given as the
    range of its rows' numbers, so that the position of a range among all ranges is the number of the part."""
    blocks: list[list[range]] = [[]]
    start = held = 0
    for rows, values in counts:
        if blocks[-1] and held + values > BLOCK:
            blocks.append([])
            held = 0
        blocks[-1].append(range(start, start + rows))
        start, held = start + rows, held + values
    return blocks if blocks[0] else []


def _pairs(run: Run, folder: str, parts: int, task: int, columns: np.ndarray, threshold: float, shared: Any) -> int:
    """Writes the candidate pairs of a few band columns, a file per block of the lower row; returns how many buckets
    were capped. A pair is one integer, the lower number in its upper half. Sizes alone rule out a pair whose smaller
    set is less than `threshold` of the larger."""
    distinct, sizes, starts = shared
    names = [_band(column) for column in columns]
    table = pa.concat_tables([run.read_table(_path(folder, "bands", n), columns=names) for n in range(parts)])
    pairs = np.empty(0, dtype=np.uint64)
    capped = 0
    for name in names:
        key = np.asarray(table[name])[distinct]
        capped += bands.full_buckets(key)
        found = [pairs]
        for better, worse in bands.pairs(key):
            a, b = distinct[better], distinct[worse]
            close = np.minimum(sizes[a], sizes[b]) / np.maximum(sizes[a], sizes[b]) >= threshold
            low, high = np.minimum(a, b)[close].astype(np.uint64), np.maximum(a, b)[close].astype(np.uint64)
            found.append(low << np.uint64(32) | high)
        pairs = _distinct(np.concatenate(found))
    cuts = [*np.searchsorted(pairs, np.array(starts, dtype=np.uint64) << np.uint64(32)), len(pairs)]
    for block in range(len(starts)):
        chosen = pa.table({"pair": pairs[cuts[block] : cuts[block + 1]]})
        run.write_table(f"{folder}/pairs/{block:05d}-{task:05d}.parquet", chosen)
    return capped


def _distinct(values: np.ndarray) -> np.ndarray:
    """Sorts `values` in place and returns each once; np.unique hashes them, 30 times slower on millions of pairs."""
    values.sort()
    first = np.ones(len(values), dtype=bool)
    first[1:] = values[1:] != values[:-1]
    return np.asarray(values[first])


def _verify(run: Run, folder: str, tasks: int, block: int, blocks: list[list[range]], threshold: float) -> int:
    """Writes the edges whose lower row is in `block`; returns how many pairs it checked."""
    files = [run.read_table(f"{folder}/pairs/{block:05d}-{task:05d}.parquet") for task in range(tasks)]
    pairs = _distinct(np.concatenate([np.asarray(file["pair"]) for file in files]))
    a, b = (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64((1 << 32) - 1)).astype(np.int64)
    left = _load(run, folder, blocks, block)
    edges: list[tuple[np.ndarray, ...]] = []
    for other in range(block, len(blocks)):
        inside = np.flatnonzero((b >= blocks[other][0].start) & (b < blocks[other][-1].stop))
        if len(inside):
            right = left if other == block else _load(run, folder, blocks, other)
            ours, theirs = a[inside] - blocks[block][0].start, b[inside] - blocks[other][0].start
            jaccard = verify.jaccard(left, right, ours, theirs)
            reached = jaccard >= threshold
            edges.append((a[inside][reached], b[inside][reached], jaccard[reached]))
    types = {"a": pa.uint32(), "b": pa.uint32(), "jaccard": pa.float32()}
    columns = zip(*edges, strict=True) if edges else [[np.empty(0)]] * 3
    arrays = [pa.array(np.concatenate(c)).cast(t) for c, t in zip(columns, types.values(), strict=True)]
    run.write_table(_path(folder, "edges", block), pa.table(arrays, names=list(types)))
    return len(pairs)


def _load(run: Run, folder: str, blocks: list[list[range]], block: int) -> shingles.Shingles:
    first = sum(len(parts) for parts in blocks[:block])
    paths = [_path(folder, "shingles", first + n) for n in range(len(blocks[block]))]
    return shingles.concat([shingles.Shingles.from_arrow(run.read_table(path)["shingles"]) for path in paths])


def _edges(run: Run, paths: Sequence[str]) -> cluster.Edges:
    if not paths:
        return cluster.Edges(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    table = pa.concat_tables([run.read_table(path) for path in paths])
    a, b = (np.asarray(table[name], dtype=np.int64) for name in ("a", "b"))
    return cluster.Edges(a, b, np.asarray(table["jaccard"]))


# -- decisions --------------------------------------------------------------------------------------------------------


def _decide(rows: Rows, edges: cluster.Edges) -> pa.Table:
    """Returns DECISIONS. A row with a double of better rank fares as the double does: it has the same set, so the same
    edges; it repeats the double itself if that is kept, and what the double repeats if not."""
    count = len(rows.double)
    star = cluster.star(count, edges, rows.rank)
    spare = rows.double != np.arange(count)
    empty = rows.sizes == 0
    kept = star.kept & ~spare & ~empty
    repeats_double = spare & star.kept[rows.double]
    twin = np.where(repeats_double, rows.double, star.twin[rows.double])
    jaccard = np.where(repeats_double, np.float32(1), star.jaccard[rows.double])
    near = ~kept & ~empty
    component = cluster.components(count, edges)[rows.double]
    smallest = np.full(count, count, dtype=np.int64)
    np.minimum.at(smallest, component, rows.id_rank)
    by_id = np.argsort(rows.id_rank)
    group = by_id[smallest[component]]
    reason = np.where(near, 0, 1)
    arrays = [
        rows.ids,
        pa.array(kept),
        rows.ids.take(pa.array(twin, mask=~near)),
        pa.array(jaccard, pa.float32(), mask=~near),
        rows.ids.take(pa.array(group)),
        pa.array(["near_duplicate", "empty_text"]).take(pa.array(reason, mask=kept)),
    ]
    return pa.Table.from_arrays(arrays, schema=DECISIONS).take(pa.array(by_id))
