"""Canned answers by frequency: the same answer under many different questions.

Output contract: `shared_answers` counts, over a whole run, the unmarked tickets of each answer and returns those over
the limit; `SharedAnswerStage` marks their rows `(quality, shared_answer, tickets, limit)`. Answers are the same if
their words are, digits, punctuation and case aside, in lines of four words and more: greeting and name may differ. Two
tickets with one question and one answer are one.
Off by default: a frequent question deserves its one good answer. This module knows no phrases (`boilerplate` does).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.run import Run

FEW_WORDS = 4  # a shorter line is a greeting, a closing or a name
NOT_LETTERS = re.compile(r"[\W\d_]+")


def answer_key(text: str) -> bytes:
    """Returns the BLAKE2b-64 of an answer's words: 8 bytes, the same for answers with the same words."""
    lines = [line for line in text.split("\n") if len(line.split()) >= FEW_WORDS]
    words = NOT_LETTERS.sub(" ", " ".join(lines or [text]).lower()).strip()
    return hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _keys(table: pa.Table) -> pa.Array:
    """Returns the key of each row's answer; null for a document and for a row that is marked."""
    tickets = schema.unmarked(table) & np.asarray(pc.equal(table["kind"], "qa"), dtype=bool)
    answers = schema.sides(table)[1].to_pylist()
    keys = [answer_key(text) if ticket else None for text, ticket in zip(answers, tickets, strict=True)]
    return pa.array(keys, pa.binary(8))


def shared_answers(run: Run, parts: Sequence[str], limit: int) -> pa.Table:
    """Returns key (8 bytes) and tickets (int64) of the answers of more than `limit` different tickets.

    `parts` are WORKING tables in the run. Memory: about 50 bytes per ticket.
    """
    tables = [pa.table({"id": pa.array([], pa.string()), "key": pa.array([], pa.binary(8))})]
    for part in parts:
        table = run.read_table(part, columns=["id", "kind", *schema.FIRST, "later", "stage"])
        tables.append(pa.table({"id": table["id"], "key": _keys(table)}))
    pairs = pa.concat_tables(tables).filter(pc.field("key").is_valid()).group_by(["key", "id"]).aggregate([])
    counts = pairs.group_by("key").aggregate([([], "count_all")]).rename_columns(["key", "tickets"])
    return counts.filter(pc.field("tickets") > limit).sort_by("key").combine_chunks()


class SharedAnswerStage:
    """The row stage. `shared`: the result of `shared_answers` for the whole input and this `limit`."""

    def __init__(self, shared: pa.Table, limit: int) -> None:
        self._keys = pa.chunked_array(shared["key"]).combine_chunks()
        self._tickets = shared["tickets"]
        self._limit = limit

    def __call__(self, table: pa.Table) -> pa.Table:
        index = pc.index_in(_keys(table), value_set=self._keys, skip_nulls=True)
        shared, tickets = np.asarray(pc.is_valid(index), dtype=bool), self._tickets.take(index).to_pylist()
        return schema.mark(table, shared, "quality", "shared_answer", tickets, self._limit)
