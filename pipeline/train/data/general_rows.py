"""General-domain rows beside the company's own: read, drawn by the seed, as many as the wanted share of tokens takes.

Output contract: `available` yields RECORD rows with origin `general`, in an order that depends on the seed and the rows
alone; `draw` encodes them one after the other until their supervised tokens are the share of all, the last row
included. What is there may be too little: the counts say what was reached.
This module does not screen the rows: the text is taken to be public. It does not pack them.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.models.template import IGNORED
from pipeline.read import discover, read
from pipeline.run import fingerprint

if TYPE_CHECKING:
    from pipeline.config import Project

FOLDER = "data/general"
BATCH = 64
"""Rows encoded at once: at most so many are encoded for nothing."""


def fingerprint_of(project: Project) -> str | None:
    """Returns what changes with the files the settings name; None without such a setting. Raises `InputError`."""
    general = project.train.general
    if general is None:
        return None
    discovery = discover([general.path], project.curate.read)
    return fingerprint(general.share, project.seed, [(file.path, file.digest) for file in discovery.files])


def available(project: Project, path: str, taken: Set[str]) -> pa.Table:
    """Returns every readable row below `path` once (RECORD, origin `general`), shuffled; rows whose id is in `taken`
    are left out. Raises `InputError`."""
    tables = [schema.RECORD.empty_table()]
    for file in discover([path], project.curate.read).files:
        for table in read(file, project.curate.read):
            readable = table.filter(pc.is_null(table["stage"]))
            tables.append(readable.select(schema.RECORD.names).cast(schema.RECORD))
    rows = pa.concat_tables(tables)
    ids = rows["id"].to_pylist()
    first = {identity: index for index, identity in reversed(list(enumerate(ids)))}
    order = sorted(
        (index for identity, index in first.items() if identity not in taken),
        key=lambda index: schema.shuffle_key(project.seed, ids[index]),
    )
    return schema.replaced(rows, "origin", ["general"] * rows.num_rows).take(np.array(order, dtype=np.int64))


def draw(
    rows: pa.Table, share: float, own_tokens: int, encode: Callable[[pa.Table], pa.Table]
) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
    """Returns the rows drawn, their examples (`encode` gives each row's, in order, under its id) and counts.

    `own_tokens` are the supervised tokens of the company's own training rows, `share` those of the general ones in all.
    """
    wanted = own_tokens * share / (1 - share)
    parts: list[pa.Table] = []
    used, tokens = 0, 0
    while tokens < wanted and used < rows.num_rows:
        batch = rows.slice(used, BATCH)
        part = encode(batch)
        row = np.asarray(pc.index_in(part["id"], value_set=batch["id"].combine_chunks()))
        supervised = [sum(label != IGNORED for label in labels) for labels in part["labels"].to_pylist()]
        reached = np.cumsum(np.bincount(row, supervised, minlength=batch.num_rows)) + tokens
        count = min(batch.num_rows, int(np.searchsorted(reached, wanted)) + 1)
        parts.append(part.filter(pa.array(row < count)))
        used, tokens = used + count, int(reached[count - 1])
    counts = {
        "rows": used,
        "available": rows.num_rows,
        "supervised_tokens": tokens,
        "share": round(tokens / max(1, tokens + own_tokens), 4),
        "wanted": share,
    }
    return rows.slice(0, used), pa.concat_tables(parts) if parts else encode(rows.slice(0, 0)), counts
