"""Near duplicates: the recipe, top to bottom.

sketch (a Ray task per part) -> band and shingle tables; candidates (a task per few band columns) and verified edges (a
task per block of rows); one decision per row (here); audit (a task per block).
Output contract: of two rows that share a band key, whose exact Jaccard similarity reaches the threshold and who ask the
same (`verify.same_question`) at most one is kept, in buckets over the cap as far as rows are compared; a dropped row
names a kept row, of the run or of an earlier one, and its exact similarity with it. Decisions depend neither on how
rows are spread over parts nor on the cluster.
In the run folder, under `stages/<stage>/`: `bands/` (id, priority, digest of the shingle set, one uint64 key per band),
`shingles/` (the sets, of the whole text and of the question), `index.json` (what later runs need to know to compare)
and `edges/` (verified pairs, rows numbered in the order of the parts), all listed as outputs; frozen records are
sketched into `frozen-N/`.
Memory: a task holds one part, a few band columns or two blocks of shingles; this process some 200 bytes a row and 60
an edge.
This module starts no Ray, marks no row and does not write the decisions.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.batch import each
from pipeline.config import Dedup
from pipeline.dedup import bands, decide, index, shingles
from pipeline.dedup.audit import asked, audit, texts_of
from pipeline.dedup.edges import (
    QUESTION,
    WHOLE,
    Blocks,
    band_name,
    candidates,
    edge_file,
    encode,
    split_blocks,
    verified,
    write_pairs,
)
from pipeline.dedup.index import DECISIONS, Index, Part
from pipeline.dedup.rows import Rows, read_rows
from pipeline.run import Run, Stage

FROZEN = ("id", "kind", *schema.FIRST, "later", "created_at")  # what is read of a RECORD table
OWN = (*FROZEN, "resolved", "stage")  # and of a WORKING table


@dataclass(frozen=True)
class Duplicates:
    """`decisions` (DECISIONS, sorted by id) has a row for each one that took part. `report`:

    `rows`, `earlier` (kept rows of the indices), `empty` (rows without a word), `identical` (rows whose shingle set a
    better one has: collapsed before the bands), `candidates` (pairs verified), `edges` (of them, those that reach the
    threshold and ask the same), `other_question` (those that reach it and do not), `candidate_precision` (the share of
    edges: what unverified buckets would have got right), `capped` (`cap`; `buckets` over it, over all bands; `rows` in
    one; the `largest` bucket) and `audit` (see there; null: none).
    """

    decisions: pa.Table
    report: dict[str, Any]


def deduplicate(
    run: Run, stage: Stage, parts: Sequence[str], settings: Dedup, earlier: Sequence[Index] = ()
) -> Duplicates:
    """Decides on every unmarked row of `parts` (WORKING, paths in the run), none of which may repeat a kept row of the
    `earlier` indices, best first. Ray must be up.

    Raises `IntegrityError` when two unmarked rows have the same id: exact duplicates come out first.
    """
    folder = f"stages/{stage.name}"
    run.put_json(stage, f"{folder}/index.json", index.describe(settings))
    mine = _sketched(run, stage, run, parts, folder, OWN, settings)
    indexed = [_freeze(run, stage, past, f"{folder}/frozen-{number}", settings) for number, past in enumerate(earlier)]
    tables = [*(part for past in indexed for part in past.parts), *mine]
    rows = read_rows(indexed, mine)
    if rows.first_own == len(rows):
        return Duplicates(DECISIONS.empty_table(), _report(rows, settings))
    blocks = split_blocks(tables, rows)
    capped = candidates(run, folder, blocks, rows, settings)
    counts, edges = verified(run, folder, "edges", blocks, settings.threshold)
    run.add(stage, [edge_file(folder, "edges", block) for block in range(len(blocks))])
    outcome, component = decide.resolve(rows, edges, settings, partial(_similarity, run, folder, blocks))
    report = _report(rows, settings, counts, len(edges.a), capped)
    if settings.audit_rows:
        report["audit"] = audit(run, parts, blocks, rows, edges, outcome, settings)
    return Duplicates(decide.table(rows, outcome, component, [past.name for past in indexed]), report)


def _similarity(run: Run, folder: str, blocks: Blocks, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the exact similarity of rows `a[i]` and `b[i]`, all pairs different: float32 (pairs,)."""
    pairs = encode(a, b)
    order = np.argsort(pairs)
    write_pairs(run, folder, 0, blocks, pairs[order])
    _, links = verified(run, folder, "links", blocks, threshold=0.0)
    run.delete(f"{folder}/links")
    jaccard = np.empty(len(pairs), np.float32)
    jaccard[order] = links.jaccard[np.argsort(encode(links.a, links.b))]
    return jaccard


def _report(
    rows: Rows, settings: Dedup, counts: tuple[int, int] = (0, 0), edges: int = 0, capped: dict[str, int] | None = None
) -> dict[str, Any]:
    count, apart = counts
    empty = int((rows.sizes[rows.first_own :] == 0).sum())
    return {
        "rows": len(rows) - rows.first_own,
        "earlier": int((rows.sizes[: rows.first_own] > 0).sum()),
        "empty": empty,
        "identical": int((rows.double != np.arange(len(rows)))[rows.first_own :].sum()),
        "candidates": count,
        "edges": edges,
        "other_question": apart,
        "candidate_precision": round(edges / count, 6) if count else None,
        "capped": {"cap": bands.CAP, **(capped or {"buckets": 0, "rows": 0, "largest": 0})},
        "audit": None,
    }


# -- sketch -----------------------------------------------------------------------------------------------------------


def _sketched(
    run: Run, stage: Stage, source: Run, paths: Sequence[str], folder: str, names: Sequence[str], settings: Dedup
) -> tuple[Part, ...]:
    """Sketches each table, a path in the run `source`, into `folder`, a part of the same number each."""
    sketched = [_part(run, folder, number) for number in range(len(paths))]
    perms = bands.permutations(settings.bands * settings.rows)
    each(_sketch, [(source, path, part, names, settings, perms) for path, part in zip(paths, sketched, strict=True)])
    run.add(stage, [path for part in sketched for path in (part.bands, part.shingles)])
    return tuple(sketched)


def _part(run: Run, folder: str, number: int) -> Part:
    return Part(run, f"{folder}/bands/{number:05d}.parquet", f"{folder}/shingles/{number:05d}.parquet")


def _freeze(run: Run, stage: Stage, records: Index, folder: str, settings: Dedup) -> Index:
    """Sketches an index's records, all of which count, into `folder`; returns any other index as it is."""
    if not records.records:
        return records
    parts = _sketched(run, stage, records.run, records.records, folder, FROZEN, settings)
    tables = [records.run.read_table(path, columns=["id", "group"]) for path in records.records]
    run.put(stage, f"{folder}/decisions.parquet", index.all_kept(pa.concat_tables(tables)))
    return replace(records, run=run, parts=parts, decisions=f"{folder}/decisions.parquet", records=())


def _sketch(source: Run, path: str, part: Part, names: Sequence[str], settings: Dedup, perms: np.ndarray) -> None:
    """Writes the band and shingle tables of a WORKING table's unmarked rows, or of a RECORD table."""
    if "stage" in names:
        table = source.read_table(path, columns=list(names))
        table = table.filter(pa.array(schema.unmarked(table)))
    else:
        table = schema.completed(source.read_table(path))
    sets = shingles.shingle(texts_of(table), settings.shingle_words)
    said, answered = schema.sides(table)
    questions = shingles.shingle(asked(table, said).to_pylist(), settings.shingle_words)
    count = table.num_rows
    columns = {
        "id": table["id"],
        "resolved": table["resolved"] if "resolved" in names else pa.nulls(count, pa.bool_()),
        "length": pc.utf8_length(answered),
        "created_at": table["created_at"],
        "size": pa.array(sets.sizes, pa.int32()),
        "digest": pa.array(_digests(sets, questions), pa.binary(16)),
    }
    keys = np.zeros((settings.bands, count), dtype=np.uint64)
    full = sets.sizes > 0
    whole = shingles.Shingles(sets.values, shingles.offsets_of(sets.sizes[full]))
    keys[:, full] = bands.keys(bands.signatures(whole, perms), settings.bands)
    columns.update({band_name(band): pa.array(key) for band, key in enumerate(keys)})
    hashed = {WHOLE: sets.to_arrow(), QUESTION: questions.to_arrow()}
    for path, hashes in ((part.bands, columns), (part.shingles, hashed)):
        part.run.write_table(path, pa.table(hashes), "none", use_dictionary=False)  # neither makes hashes smaller


def _digests(*sets: shingles.Shingles) -> list[bytes]:
    """Returns 16 bytes per row: rows with the same digest have the same sets (BLAKE2b), of text and question."""
    hashed = []
    for each_set in sets:
        data = memoryview(each_set.values.tobytes())
        cuts = itertools.pairwise((each_set.offsets * each_set.values.itemsize).tolist())
        hashed.append([hashlib.blake2b(data[start:stop], digest_size=16).digest() for start, stop in cuts])
    return [hashlib.blake2b(b"".join(row), digest_size=16).digest() for row in zip(*hashed, strict=True)]
