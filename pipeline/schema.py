"""The Arrow schema of every table, and the operations that row stages share: `mark`, `unmarked`, `replaced`.

Output contract: a `RECORD` row is one training example; a `WORKING` row is a record on its way through curation, with
where it came from and, once a stage objects, why it was rejected. Ids come from the data, never from a counter, so a
task that Ray runs twice produces the same rows.
This module does not read or write files.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

RECORD = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # 128-bit content hash, 32 hex digits
        pa.field("source", pa.string(), nullable=False),  # name of the dump, as in metrics and reports
        pa.field("source_id", pa.string(), nullable=False),  # the dump's own id: ticket number, page and section
        pa.field("kind", pa.string(), nullable=False),  # qa | document
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("lang", pa.string()),
        pa.field("lang_score", pa.float32()),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
        pa.field("origin", pa.string(), nullable=False),  # real | synthetic | general
        pa.field("parent_id", pa.string()),  # id of the real row a synthetic one was made from
        pa.field("group", pa.string()),  # near-duplicate group: never straddles a split
    ]
)

ENTITY = pa.struct([("type", pa.string()), ("text", pa.string())])
REMOVED = pa.struct([("kind", pa.string()), ("characters", pa.int64())])

PROVENANCE = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),  # file, relative to its input
        pa.field("line", pa.int64(), nullable=False),  # 1-based first line (csv, jsonl, markdown) or row (parquet)
        pa.field("resolved", pa.bool_()),  # the ticket's own status: solved or closed
        pa.field("entities", pa.list_(ENTITY)),  # of the row's own columns; type NAME, EMAIL or PHONE
        pa.field(
            "pii", pa.list_(pa.string())
        ),  # type of every finding that was replaced, in reading order, never its text
        pa.field("characters", pa.int64()),  # of its texts as read: kept in prompt and response, or in `removed`
        pa.field("removed", pa.list_(REMOVED)),  # what reading took from them, by kind; below zero: it added
        pa.field("toxicity", pa.float32()),  # Detoxify's score; null: the row was not scored
    ]
)

MARKS = pa.schema(
    [
        pa.field("stage", pa.string()),  # null: no stage has objected
        pa.field("reason", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("threshold", pa.float32()),
        pa.field("twin", pa.string()),  # id of the kept row that this one repeats
        pa.field("twin_run", pa.string()),  # the earlier run that the twin is in; null: this one
    ]
)

WORKING = pa.schema([*RECORD, *PROVENANCE, *MARKS])

REJECT = pa.schema(
    [WORKING.field(n) for n in ("id", "source", "source_id", "path", "line")]
    + [WORKING.field(n) for n in ("stage", "reason", "score", "threshold", "twin", "twin_run")]
)


def _flat(text: str) -> str:
    """Returns the text with each run of white space as one space, none at the ends."""
    flat = text.replace("\n\n", " ").replace("\n", " ")
    if flat.isprintable() and "  " not in flat:  # no white space is printable but the space
        return flat.strip()
    return " ".join(text.split())


def content_id(kind: str, prompt: str, response: str) -> str:
    """Returns 32 hex digits: BLAKE2b-128 of the content, blind to Unicode form and to runs of white space."""
    parts = [_flat(unicodedata.normalize("NFC", text)) for text in (kind, prompt, response)]
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def shuffle_key(seed: int, identity: str) -> bytes:
    """Returns what rows are sorted by to be shuffled: 64 bytes (BLAKE2b) of seed and id, blind to their first order."""
    return hashlib.blake2b(f"{seed}:{identity}".encode()).digest()


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    """Returns a WORKING or RECORD table with other values in one column, where it stood."""
    field = WORKING.field(name)
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, field.type)
    return table.set_column(table.schema.get_field_index(name), field, column)


def unmarked(table: pa.Table) -> np.ndarray:
    """Returns a boolean array, one entry per row: True where no stage has objected yet."""
    return np.asarray(pc.is_null(table["stage"]))


def mark(
    table: pa.Table,
    rows: np.ndarray,
    stage: str,
    reason: str,
    score: Sequence[float | None] | np.ndarray | None = None,
    threshold: float | None = None,
    twin: Sequence[str | None] | None = None,
) -> pa.Table:
    """Marks `rows` (boolean, one per row) as rejected by `stage` for `reason`; rows already marked stay as they are.

    `score` and `twin`, where given, have one entry per row of the table. Returns a table of the same schema and order.
    """
    chosen = pa.array(np.asarray(rows, dtype=bool) & unmarked(table))
    size = table.num_rows
    values: dict[str, pa.Array] = {
        "stage": pa.array([stage] * size, pa.string()),
        "reason": pa.array([reason] * size, pa.string()),
        "score": pa.nulls(size, pa.float32()) if score is None else pa.array(score, pa.float32()),
        "threshold": pa.array([threshold] * size, pa.float32()),
        "twin": pa.nulls(size, pa.string()) if twin is None else pa.array(twin, pa.string()),
    }
    for name, value in values.items():
        table = replaced(table, name, pc.if_else(chosen, value, table[name]))
    return table


def forget(table: pa.Table) -> pa.Table:
    """Empties the text of rejected rows and everybody's known entities: neither is needed again, both are personal."""
    kept = pa.array(unmarked(table))
    for name in ("prompt", "response"):
        table = replaced(table, name, pc.if_else(kept, table[name], ""))
    return replaced(table, "entities", [[]] * table.num_rows)
