"""The golden set across curations: a golden row stays golden, in this run folder and in later ones.

Output contract: `freeze` adds the golden rows of a folder's last finished curation to `frozen/golden.parquet` (RECORD);
`frozen` returns those rows and the golden ones of earlier runs, each id once, the folder's own first. A curation finds
its golden rows again by content: those in the dump are golden again, those that are not are carried over, and rows that
repeat one never train. Frozen rows are never changed, only added to. They are frozen when the next curation begins, not
when theirs ends, because a curation that is interrupted and started again must not find its own result.
This module does not choose golden rows (`split`) and does not look for their twins (`dedup`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.dedup import index
from pipeline.run import Run, outputs

FROZEN = "frozen/golden.parquet"
GOLDEN = "data/golden"
CARRIED = f"{GOLDEN}/frozen.parquet"  # golden rows that are not in this dump


def freeze(run: Run) -> bool:
    """Freezes what the folder's last finished curation made golden; returns whether that added rows. To be called
    before its stages are withdrawn."""
    manifest = run.manifest("curate")
    if manifest is None:
        return False
    before = _frozen_here(run)
    rows = _first(before, run.read_outputs(manifest, GOLDEN))
    if rows.num_rows == before.num_rows:
        return False
    run.write_table(FROZEN, rows)
    return True


def frozen(run: Run, earlier: Sequence[Run] = ()) -> pa.Table:
    """Returns the rows that are golden whatever the dump holds (RECORD); raises `MissingStageError` where an earlier
    run has no finished curation."""
    return _first(_frozen_here(run), *(other.read_outputs(other.require("curate"), GOLDEN) for other in earlier))


def indices(run: Run, earlier: Sequence[Run] = ()) -> list[index.Index]:
    """Returns the same rows as near-duplicate detection takes them: one index of each run that has some."""
    here = [index.of_records(run, [FROZEN])] if run.exists(FROZEN) else []
    golden = ((other, outputs(other.require("curate"), GOLDEN)) for other in earlier)
    return [*here, *(index.of_records(other, paths, other.uri) for other, paths in golden)]


def found_again(decisions: pa.Table, ids: pa.ChunkedArray) -> pa.Table:
    """Returns near-duplicate decisions in which those of the frozen `ids` that repeat a frozen row by being that row
    are kept."""
    again = pc.and_(pc.is_in(decisions["id"], value_set=ids), pc.equal(decisions["id"], decisions["twin"]))
    again = pc.fill_null(again, False)
    columns = {name: decisions[name] for name in decisions.column_names}
    columns["kept"] = pc.or_(columns["kept"], again)
    for name in ("twin", "twin_run", "jaccard", "reason"):
        columns[name] = pc.if_else(again, None, columns[name])
    return pa.table(columns, schema=decisions.schema)


def _frozen_here(run: Run) -> pa.Table:
    return schema.completed(run.read_table(FROZEN)) if run.exists(FROZEN) else schema.RECORD.empty_table()


def _first(*tables: pa.Table) -> pa.Table:
    """Returns the rows of all tables, of those with the same id the first."""
    table = pa.concat_tables([part.select(schema.RECORD.names).cast(schema.RECORD) for part in tables])
    row = pa.array(np.arange(table.num_rows))
    keep = pa.table({"id": table["id"], "row": row}).group_by("id").aggregate([("row", "min")])["row_min"]
    return table.take(keep.take(pc.sort_indices(keep))).combine_chunks()
