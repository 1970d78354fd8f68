"""Marks and ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema


def test_content_ids_ignore_white_space_and_unicode_form_only() -> None:
    same = schema.content_id("qa", "Zürich  is\nnice", "a")
    assert same == schema.content_id("qa", "Zu\u0308rich is nice ", "a")
    assert same != schema.content_id("qa", "Zürich is nice", "A")
    assert same != schema.content_id("document", "Zürich is nice", "a")
    assert schema.content_id("qa", "a b", "c") != schema.content_id("qa", "a", "b c")
    assert len(same) == 32


def test_a_content_id_covers_every_turn() -> None:
    alone = schema.content_id("qa", "a", "b")
    assert schema.content_id("qa", "a", "b", ()) == alone
    ids = {schema.content_id("qa", "a", "b", later) for later in ((), ("c", "d"), ("c", "e"), ("c", "d", "e", "f"))}
    assert alone in ids
    assert len(ids) == 4


def test_turns_are_every_text_in_reading_order_and_go_back_where_they_were(make_working: Any) -> None:
    rows = [
        {"prompt": "p0", "response": "r0", "later": ["c0", "d0", "e0", "f0"]},
        {"prompt": None, "response": "r1"},
        {"prompt": "p2", "response": "r2", "later": ["c2", "d2"]},
    ]
    table = make_working(rows)
    for chosen, wanted in (
        (table, ["p0", "r0", "c0", "d0", "e0", "f0", "", "r1", "p2", "r2", "c2", "d2"]),
        (table.slice(1), ["", "r1", "p2", "r2", "c2", "d2"]),  # offsets do not begin at 0
        (pa.concat_tables([table.slice(2), table.slice(1, 1)]), ["p2", "r2", "c2", "d2", "", "r1"]),
        (table.slice(0, 0), []),
    ):
        texts, starts = schema.turns(chosen)
        assert texts.to_pylist() == wanted
        assert starts.tolist()[:1] == [0]
        assert starts[-1] == len(wanted)
        assert len(starts) == chosen.num_rows + 1
        upper = schema.with_turns(chosen, pc.utf8_upper(texts))
        assert upper.schema == schema.WORKING
        assert schema.turns(upper)[0].to_pylist() == [text.upper() for text in wanted]
        assert upper["later"].to_pylist() == [[t.upper() for t in row] for row in chosen["later"].to_pylist()]
        assert upper["id"].to_pylist() == chosen["id"].to_pylist()


def test_sides_are_what_each_of_the_two_says(make_working: Any) -> None:
    rows = [
        {"prompt": "p0", "response": None},
        {"prompt": "p1", "response": "r1", "later": ["c1", "d1", "e1", "f1"]},
    ]
    asked, answered = schema.sides(make_working(rows))
    assert asked.to_pylist() == ["p0", "p1\n\nc1\n\ne1"]
    assert answered.to_pylist() == ["", "r1\n\nd1\n\nf1"]
    assert [len(side) for side in schema.sides(make_working([]))] == [0, 0]


def test_a_table_of_an_earlier_version_has_no_later_turns(make_working: Any) -> None:
    table = make_working([{"prompt": "a"}, {"prompt": "b"}])
    old = table.drop_columns(["later"])
    assert schema.completed(old).equals(table)
    assert schema.completed(table) is table


def test_first_mark_wins_and_no_row_moves(make_working: Any) -> None:
    table = make_working([{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}])
    table = schema.mark(table, np.array([True, False, False]), "language", "language", [0.1, 0.2, 0.3], 0.95)
    table = schema.mark(table, np.array([True, True, False]), "toxicity", "toxicity", [0.9, 0.9, 0.0], 0.9)
    assert table.schema == schema.WORKING
    assert table["prompt"].to_pylist() == ["a", "b", "c"]
    assert table["reason"].to_pylist() == ["language", "toxicity", None]
    assert table["threshold"].to_pylist()[1] == np.float32(0.9)
    assert schema.unmarked(table).tolist() == [False, False, True]


def test_marking_an_empty_table(make_working: Any) -> None:
    assert schema.mark(make_working([]), np.zeros(0, bool), "s", "r").num_rows == 0


def test_forget_empties_rejected_text_and_all_entities(make_working: Any) -> None:
    conversation = {"entities": [{"type": "NAME", "text": "Anna Schmidt"}], "later": ["c", "d"]}
    table = make_working([{"prompt": "a", **conversation}, {"prompt": "b", **conversation}])
    table = schema.forget(schema.mark(table, np.array([True, False]), "language", "language"))
    assert table.schema == schema.WORKING
    assert table["prompt"].to_pylist() == ["", "b"]
    assert table["later"].to_pylist() == [[], ["c", "d"]]
    assert table["entities"].to_pylist() == [[], []]
