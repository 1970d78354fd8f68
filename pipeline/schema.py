"""The Arrow schema of every table, and the operations that row stages share: `mark`, `unmarked`, `replaced`, and what
is said in a row: `turns` in order, `sides` by who says it.

Output contract: a `RECORD` row is one training example: a question, its answer and the turns that follow, the customer
and the agent by turns, the agent last. A `WORKING` row is a record on its way through curation, with
where it came from and, once a stage objects, why it was rejected. Ids come from the data, never from a counter, so a
task that Ray runs twice produces the same rows.
This module does not read or write files.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
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
        pa.field("later", pa.list_(pa.string()), nullable=False),  # the turns after that: customer, agent, customer ...
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

FIRST = ("prompt", "response")  # the first turns of a row; `later` has the others

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


def content_id(kind: str, prompt: str, response: str, later: Sequence[str] = ()) -> str:
    """Returns 32 hex digits: BLAKE2b-128 of kind and turns, blind to Unicode form and to runs of white space."""
    parts = [_flat(unicodedata.normalize("NFC", text)) for text in (kind, prompt, response, *later)]
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def shuffle_key(seed: int, identity: str) -> bytes:
    """Returns what rows are sorted by to be shuffled: 64 bytes (BLAKE2b) of seed and id, blind to their first order."""
    return hashlib.blake2b(f"{seed}:{identity}".encode()).digest()


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    """Returns a WORKING or RECORD table with other values in one column, where it stood."""
    field = WORKING.field(name)
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, field.type)
    return table.set_column(table.schema.get_field_index(name), field, column)


def completed(table: pa.Table) -> pa.Table:
    """Returns records as this version has them: those of an earlier one have a question, an answer, nothing later."""
    if "later" in table.column_names:
        return table
    none = pa.array([[]] * table.num_rows, pa.list_(pa.string()))
    return table.add_column(table.schema.get_field_index("response") + 1, RECORD.field("later"), none)


def turns(table: pa.Table) -> tuple[pa.Array, np.ndarray]:
    """Returns every text of a table, row after row, as it is read: question, answer, later turns; and where each row
    begins, int64 (rows + 1,).

    A null text is an empty one. The turns of a row are alternately the customer's and the agent's.
    """
    starts = _starts(table)
    slots = np.arange(starts[-1]) - np.repeat(starts[:-1], np.diff(starts))  # each text's place in its row
    order = np.argsort(np.minimum(slots, len(FIRST)), kind="stable")  # all questions, all answers, all later turns
    columns = [table[name].combine_chunks() for name in FIRST]
    texts = pa.concat_arrays([*columns, pc.list_flatten(table["later"].combine_chunks())]).take(np.argsort(order))
    return pc.fill_null(texts, ""), starts


def _starts(table: pa.Table) -> np.ndarray:
    counts = np.asarray(pc.fill_null(pc.list_value_length(table["later"]), 0), dtype=np.int64) + len(FIRST)
    return np.concatenate(([0], np.cumsum(counts)))


def turns_of(row: Mapping[str, Any]) -> list[str]:
    """Returns the texts of one row, as it is read."""
    return [*(row[name] for name in FIRST), *row["later"]]


def with_turns(table: pa.Table, texts: pa.Array) -> pa.Table:
    """Returns the table with other texts: as many as `turns` returns, in that order."""
    starts = _starts(table)
    first = [texts.take(starts[:-1] + slot) for slot in range(len(FIRST))]
    rest = np.ones(len(texts), dtype=bool)
    rest[(starts[:-1, None] + np.arange(len(FIRST))).ravel()] = False
    offsets = pa.array(starts - np.arange(len(starts)) * len(FIRST), pa.int32())
    later = pa.ListArray.from_arrays(offsets, texts.filter(pa.array(rest)))
    for name, values in zip((*FIRST, "later"), (*first, later), strict=True):
        table = replaced(table, name, values)
    return table


def sides(table: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Returns what the customer says in each row and what the agent says: all their turns, a blank line between them.

    Of a row with no later turn that is question and answer. A null text is an empty one.
    """
    asked, answered = (pc.fill_null(table[name], "").combine_chunks() for name in FIRST)
    later = table["later"].combine_chunks()
    several = pc.fill_null(pc.greater(pc.list_value_length(later), 0), False)
    if not pc.any(several).as_py():
        return asked, answered
    rest = later.filter(several).to_pylist()
    return (
        _joined(asked, several, [turns[0::2] for turns in rest]),
        _joined(answered, several, [turns[1::2] for turns in rest]),
    )


def _joined(texts: pa.Array, several: pa.Array, rest: list[list[str]]) -> pa.Array:
    whole = ["\n\n".join([text, *more]) for text, more in zip(texts.filter(several).to_pylist(), rest, strict=True)]
    return pc.replace_with_mask(texts, several, pa.array(whole, pa.string()))


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
    kept = unmarked(table)
    if not kept.all():
        chosen = pa.array(kept)
        for name in FIRST:
            table = replaced(table, name, pc.if_else(chosen, table[name], ""))
        table = replaced(table, "later", pc.if_else(chosen, table["later"], pa.scalar([], table["later"].type)))
    return replaced(table, "entities", [[]] * table.num_rows)
