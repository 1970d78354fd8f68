"""Answers that many tickets share: counted over all parts, marked in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.run import Run
from pipeline.screen.quality.shared_answers import SharedAnswerStage, answer_key, shared_answers

CANNED = "Hello {name},\n\nplease restart the app and try again, case {number}.\n\nRegards\nBob"
OWN = "The fee of ticket {number} was our mistake, we pay it back to you {word}."


def rows(count: int) -> list[dict[str, Any]]:
    words = ["today", "tomorrow", "soon", "later", "at once"]
    canned = [CANNED.format(name=f"Anna {'x' * number}", number=number) for number in range(count)]
    answers = [*canned, *(OWN.format(number=number, word=words[number]) for number in range(len(words)))]
    return [{"prompt": f"Question {number}?", "response": text} for number, text in enumerate(answers)]


@pytest.fixture
def tables(make_working: Any) -> list[pa.Table]:
    table = make_working(rows(6))
    return [table.slice(0, 4), table.slice(4), table.slice(0, 1)]  # the last one repeats a row


def count(tmp_path: Path, tables: list[pa.Table], limit: int) -> pa.Table:
    run = Run(str(tmp_path / "run"))
    paths = [f"stages/read/{number:05d}.parquet" for number in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        run.write_table(path, table)
    return shared_answers(run, paths, limit)


def test_marks_and_keeps(tmp_path: Path, tables: list[pa.Table]) -> None:
    shared = count(tmp_path, tables, 5)
    assert shared["tickets"].to_pylist() == [6]  # the repeated row counts once
    marked = SharedAnswerStage(shared, 5)(pa.concat_tables(tables[:2])).to_pylist()
    assert [row["reason"] for row in marked] == ["shared_answer"] * 6 + [None] * 5
    assert {(row["stage"], row["score"], row["threshold"]) for row in marked[:6]} == {("quality", 6.0, 5.0)}


def test_nothing_is_shared_by_no_more_than_the_limit(tmp_path: Path, tables: list[pa.Table]) -> None:
    shared = count(tmp_path, tables, 6)
    assert shared.num_rows == 0
    assert schema.unmarked(SharedAnswerStage(shared, 6)(tables[0])).all()


def test_first_reason_wins_and_marked_rows_do_not_count(tmp_path: Path, tables: list[pa.Table]) -> None:
    marked = [schema.mark(table, np.ones(table.num_rows, bool), "exact", "exact_duplicate") for table in tables]
    assert count(tmp_path, marked, 1).num_rows == 0
    stage = SharedAnswerStage(count(tmp_path, tables, 5), 5)
    assert stage(marked[0]).equals(marked[0])


def test_documents_do_not_count(tmp_path: Path, tables: list[pa.Table]) -> None:
    at = schema.WORKING.get_field_index("kind")
    kinds = [pa.array(["document"] * table.num_rows) for table in tables]
    pages = [t.set_column(at, schema.WORKING.field("kind"), kind) for t, kind in zip(tables, kinds, strict=True)]
    assert count(tmp_path, pages, 1).num_rows == 0


def test_empty_batch_and_null_text(tmp_path: Path, make_working: Any) -> None:
    stage = SharedAnswerStage(count(tmp_path, [], 1), 1)
    assert stage(schema.WORKING.empty_table()).equals(schema.WORKING.empty_table())
    null = make_working([{"prompt": "?", "response": None}])
    assert stage(null).equals(null)


def test_same_words_same_key() -> None:
    one, two = (CANNED.format(name=name, number=7) for name in ("Anna", "Bob Miller"))
    assert answer_key(one) == answer_key(two.upper())
    assert answer_key(one) != answer_key(one.replace("restart", "delete"))
    assert answer_key("Done.") == answer_key("done") != answer_key("")
