"""Marks and ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline import schema


def test_content_ids_ignore_white_space_and_unicode_form_only() -> None:
    same = schema.content_id("qa", "Zürich  is\nnice", "a")
    assert same == schema.content_id("qa", "Zu\u0308rich is nice ", "a")
    assert same != schema.content_id("qa", "Zürich is nice", "A")
    assert same != schema.content_id("document", "Zürich is nice", "a")
    assert schema.content_id("qa", "a b", "c") != schema.content_id("qa", "a", "b c")
    assert len(same) == 32


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
    entities = [{"type": "NAME", "text": "Anna Schmidt"}]
    table = make_working([{"prompt": "a", "entities": entities}, {"prompt": "b", "entities": entities}])
    table = schema.forget(schema.mark(table, np.array([True, False]), "language", "language"))
    assert table.schema == schema.WORKING
    assert table["prompt"].to_pylist() == ["", "b"]
    assert table["entities"].to_pylist() == [[], []]
