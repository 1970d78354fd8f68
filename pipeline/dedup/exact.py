"""Exact duplicates: rows with the same content id, of which one is kept.

Output contract: of the unmarked rows with one id the smallest (source, path, line) stays as it is, the others are
marked `exact` / `exact_duplicate` with that id as their twin (the kept row has the same one). Which row stays does not
depend on the order of rows or parts. This module reads ids and positions only, never text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.run import Run

ORDER = ["id", "source", "path", "line"]


def winners(run: Run, parts: Sequence[str]) -> pa.Table:
    """Returns id, source, path, line of the row that is kept, for every id that more than one unmarked row has.

    `parts` are WORKING tables in the run. Sorted by id; about 50 bytes per row are in memory meanwhile.
    """
    tables = [schema.WORKING.empty_table().select(ORDER), *(_unmarked(run, part) for part in parts)]
    table = pa.concat_tables(tables)
    counts = table.group_by("id").aggregate([([], "count_all")])
    several = counts.filter(pc.greater(counts["count_all"], 1))["id"].combine_chunks()
    table = table.filter(pc.is_in(table["id"], value_set=several)).sort_by([(name, "ascending") for name in ORDER])
    ids = table["id"].combine_chunks()
    first = np.ones(len(ids), dtype=bool)
    first[1:] = np.asarray(pc.not_equal(ids[1:], ids[:-1]))
    return table.filter(pa.array(first)).combine_chunks()


def _unmarked(run: Run, part: str) -> pa.Table:
    table = run.read_table(part, columns=[*ORDER, "stage"])
    return table.filter(pa.array(schema.unmarked(table))).select(ORDER)


class ExactStage:
    """The row stage. `first` is what `winners` returned for the whole input."""

    def __init__(self, first: pa.Table) -> None:
        self._first = first.combine_chunks()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Marks the rows of a WORKING table that repeat a kept one; same rows, same order."""
        ids = self._first["id"]
        slot = pc.index_in(table["id"], value_set=ids.combine_chunks() if ids.num_chunks else pa.array([], pa.string()))
        other = np.zeros(table.num_rows, dtype=bool)
        for name in ORDER[1:]:
            differs = pc.not_equal(table[name], self._first[name].take(slot))  # null: the id occurs once
            other |= np.asarray(pc.fill_null(differs, False))
        return schema.mark(table, other, "exact", "exact_duplicate", twin=table["id"].to_pylist())
