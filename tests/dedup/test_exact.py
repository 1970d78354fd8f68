"""Exact duplicates: which row stays, what the others are marked with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.dedup.exact import ExactStage, winners
from pipeline.run import Run

ROWS = [
    {"prompt": "a", "response": "1", "source": "b", "path": "x.csv", "line": 3},
    {"prompt": "a", "response": "1", "source": "a", "path": "y.csv", "line": 9},
    {"prompt": "a", "response": "1", "source": "a", "path": "y.csv", "line": 10},
    {"prompt": "b", "response": "1", "source": "a", "path": "y.csv", "line": 11},
    {
        "prompt": "c",
        "response": "1",
        "source": "a",
        "path": "y.csv",
        "line": 2,
        "stage": "read",
        "reason": "unreadable",
    },
    {"prompt": "c", "response": "1", "source": "a", "path": "y.csv", "line": 12},
]


def judge(run: Run, tables: list[pa.Table]) -> list[pa.Table]:
    parts = [f"stages/read/{number}.parquet" for number in range(len(tables))]
    for part, table in zip(parts, tables, strict=True):
        run.write_table(part, table)
    stage = ExactStage(winners(run, parts))
    return [stage(table) for table in tables]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(str(tmp_path))


def test_marks_all_but_the_smallest_position(run: Run, make_working: Any) -> None:
    table = make_working(ROWS)
    for cut in (0, 1, 2, 6):
        marked = pa.concat_tables(judge(run, [table[:cut], table[cut:]]))
        assert marked["reason"].to_pylist() == ["exact_duplicate", None, "exact_duplicate", None, "unreadable", None]
        assert marked["twin"].to_pylist() == [ROW_ID, None, ROW_ID, None, None, None]
        assert marked.schema == schema.WORKING
        assert marked.drop(["stage", "reason", "twin"]) == table.drop(["stage", "reason", "twin"])


ROW_ID = schema.content_id("qa", "a", "1")


def test_keeps_what_occurs_once(run: Run, make_working: Any) -> None:
    table = make_working(ROWS[3:4])
    assert judge(run, [table]) == [table]


def test_first_reason_wins_and_a_marked_row_is_no_winner(run: Run, make_working: Any) -> None:
    """The marked row has the smaller line, yet the unmarked one stays."""
    (marked,) = judge(run, [make_working(ROWS[4:])])
    assert marked["reason"].to_pylist() == ["unreadable", None]


def test_empty_batch(run: Run, make_working: Any) -> None:
    first = winners(run, [])
    assert first.num_rows == 0
    assert ExactStage(first)(make_working([])).num_rows == 0
    assert ExactStage(first)(make_working(ROWS)) == make_working(ROWS)


def test_null_text(run: Run, make_working: Any) -> None:
    """A row may lack text when it gets here; this stage looks at ids and positions alone."""
    part = "stages/read/0.parquet"
    run.write_table(part, make_working([{"id": "a"}, {"id": "a"}]))
    table = make_working([{"id": "a", "prompt": None, "response": None} for _ in range(2)])
    marked = ExactStage(winners(run, [part]))(table)
    assert marked["reason"].to_pylist() == [None, "exact_duplicate"]


def test_order_of_rows_does_not_matter(run: Run, make_working: Any) -> None:
    table = make_working(ROWS * 1)
    order = np.random.default_rng(0).permutation(table.num_rows)
    expected = {(r["path"], r["line"]): r["reason"] for r in judge(run, [table])[0].to_pylist()}
    (shuffled,) = judge(run, [table.take(pa.array(order))])
    assert {(r["path"], r["line"]): r["reason"] for r in shuffled.to_pylist()} == expected
