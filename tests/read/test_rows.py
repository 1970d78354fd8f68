"""Rows as tables: conversations with turns after the first answer."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.read import rows
from pipeline.read.rows import Row, collect


def table(*read: Row) -> pa.Table:
    return pa.concat_tables(collect(iter(read), "desk", "desk.json", 10))


def test_later_turns_are_a_column_that_is_never_null() -> None:
    made = table(Row(1, "a", "b"), Row(2, "a", "b", later=("c", "d")), Row(3, "Head", "text", kind="document"))
    assert made.schema == schema.WORKING
    assert made["later"].to_pylist() == [[], ["c", "d"], []]
    assert made["later"].null_count == 0
    assert made["id"].to_pylist()[:2] == [
        schema.content_id("qa", "a", "b"),
        schema.content_id("qa", "a", "b", ("c", "d")),
    ]


def test_a_row_with_an_empty_turn_or_one_that_cannot_be_stored_is_marked() -> None:
    made = table(
        Row(1, "a", "b", later=(" ", "d")),
        Row(2, "a", "b", later=("c", "")),
        Row(3, "a", "b", later=("c", "d\0")),
        Row(4, "a", "b", later=("c", "d")),
    )
    assert made["reason"].to_pylist() == ["empty_prompt", "empty_response", "unreadable", None]
    assert made["later"].to_pylist()[2:] == [[], ["c", "d"]]


def test_a_customer_without_an_answer_is_a_fault_of_the_reader() -> None:
    with pytest.raises(ValueError, match="line 7: later turns come in pairs"):
        table(Row(7, "a", "b", later=("c",)))


def test_later_turns_count_where_a_table_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PART_TEXT", 10)
    read = [Row(line, "a", "b", later=("c" * 5, "d" * 5)) for line in (1, 2)]
    assert [part.num_rows for part in collect(iter(read), "desk", "desk.json", 10)] == [1, 1]
