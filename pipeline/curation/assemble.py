"""The end of a curation: what was decided is written into the rows, and the rows into the output shards.

Output contract: `decided` returns for every row that took part in `dedup` whether it is kept and in which split;
`shards` writes `data/{train,val,golden}/part-N.parquet` (RECORD) and `rejects/part-N.parquet` (REJECT), each from the
Nth group of consecutive parts, so that no block layout changes a byte.
Parts follow one another in the order they are given.
This module decides nothing: duplicates are found in `dedup`, and which rows are golden in `split`.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import batch, schema
from pipeline.config import Project
from pipeline.curation.counts import SPLITS, Counts
from pipeline.curation.split import assign, report
from pipeline.run import Run

SHARD_ROWS = 25_000  # rows per output shard, whole parts; a shard is assembled in one task's memory
DECISIONS = "stages/dedup/decisions.parquet"  # `dedup.index.DECISIONS`, sorted by id
SPLIT = "stages/curate/split.parquet"  # id and split of every kept row


def decided(project: Project, run: Run, parts: Sequence[str], frozen: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
    """Returns the decisions of `dedup` with the column `split` (null: not kept), and what came of the split.

    `frozen` (RECORD): rows that are golden already. Writes the split to `SPLIT`.
    """
    decisions = run.read_table(DECISIONS)
    kept = decisions.filter(decisions["kept"]).select(["id", "group"])
    labels = pa.concat_tables([run.read_table(part, columns=["id", "label", "stage"]) for part in parts])
    labels = labels.filter(pc.is_null(labels["stage"]))
    label = labels["label"].take(pc.index_in(kept["id"], value_set=labels["id"].combine_chunks()))
    kept = kept.append_column("label", label)
    ids, groups = (frozenset(frozen[name].drop_null().to_pylist()) for name in ("id", "group"))
    split = assign(kept, project.curate.split, project.seed, ids, groups)
    run.write_table(SPLIT, pa.table({"id": kept["id"], "split": split}))
    number = pc.if_else(decisions["kept"], pc.cumulative_sum(pc.cast(decisions["kept"], pa.int64())), None)  # from 1
    decisions = decisions.append_column("split", split.take(pc.subtract(number, 1))).combine_chunks()
    return decisions, report(kept, split, project.curate.split, ids, groups)


def shards(run: Run, parts: Sequence[str], decisions: Any, threshold: float) -> Iterator[batch.Summary]:
    """Writes the output shards, in parallel; yields `{paths, rows, counts}` of each (`counts`: pickled `Counts`).

    `decisions`: Ray's reference to what `decided` returns. `threshold`: of near duplicates, for their marks.
    """
    import ray

    groups = _groups(run, parts)

    def make() -> batch.Work:
        table = ray.get(decisions)
        return lambda number: _shard(run, groups[number], number, table, threshold)

    yield from batch.spread(make, len(groups))


def _groups(run: Run, parts: Sequence[str]) -> list[list[str]]:
    """Returns groups of consecutive parts, of at most `SHARD_ROWS` rows unless a single part has more."""
    return [list(parts[cut]) for cut in batch.slices(map(run.count_rows, parts), SHARD_ROWS)]


def _shard(
    run: Run, parts: Sequence[str], number: int, decisions: pa.Table, threshold: float
) -> Iterator[batch.Summary]:
    """Writes the output shard of whole parts."""
    table = pa.concat_tables([run.read_table(part) for part in parts])
    decisions = decisions.take(pc.index_in(table["id"], value_set=decisions["id"].combine_chunks()))
    table = apply_decisions(table, decisions, threshold)
    unmarked = pa.array(schema.unmarked(table))
    kept, split = table.filter(unmarked), decisions["split"].filter(unmarked)
    rejected = table.filter(pc.invert(unmarked))
    counts = Counts()
    counts.add_kept(kept, split)
    counts.add_rejected(rejected)
    outputs = {f"data/{name}": kept.filter(pc.equal(split, name)).select(schema.RECORD.names) for name in SPLITS}
    outputs["rejects"] = rejected.select(schema.REJECT.names)
    paths = [f"{folder}/part-{number:05d}.parquet" for folder in outputs]
    for path, rows in zip(paths, outputs.values(), strict=True):
        run.write_table(path, rows)
    yield {"paths": paths, "rows": table.num_rows, "counts": pickle.dumps(counts)}


def apply_decisions(table: pa.Table, decisions: pa.Table, threshold: float) -> pa.Table:
    """Writes decisions into WORKING rows: the group of every unmarked row, the mark of those that are not kept.

    `decisions` has a row for each row of the table, null where the row's id has no decision.
    """
    unmarked = pa.array(schema.unmarked(table))
    group = pc.if_else(unmarked, decisions["group"], None)
    table = schema.replaced(table, "group", group)
    reason = decisions["reason"]
    twins, empty = (pc.fill_null(pc.equal(reason, name), False) for name in ("near_duplicate", "empty_text"))
    jaccard, twin = decisions["jaccard"].to_pylist(), decisions["twin"].to_pylist()
    table = schema.mark(table, twins, "dedup", "near_duplicate", jaccard, threshold, twin)
    run = pc.if_else(twins, decisions["twin_run"], table["twin_run"])
    table = schema.replaced(table, "twin_run", run)
    return schema.mark(table, empty, "dedup", "empty_text")
