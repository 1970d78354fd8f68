"""Which rows are asked for variants, and which variants are none."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.config import Project
from pipeline.synthesis.synthesize import choose, draft, fault

PROJECT = Project.model_validate(
    {"name": "t", "base_model": "o/m", "synthesize": {"seeds": 3, "variants": 2, "min_words": 3, "max_words": 6}}
)


def rows(make_working: Any, prompts: list[str], **fields: Any) -> pa.Table:
    table = make_working([{"prompt": text, "response": "yes", "lang": "en", **fields} for text in prompts])
    return table.select(schema.RECORD.names)


def test_seeds_fit_in_length_language_and_kind_and_are_drawn_by_the_seed(make_working: Any) -> None:
    fitting = [f"how do I do {number}" for number in range(20)]
    table = pa.concat_tables(
        [
            rows(make_working, [*fitting, "too short", "this one is far too long to be asked"]),
            rows(make_working, ["comment faire cela ici"], lang="fr"),
            rows(make_working, ["a page of the wiki"], kind="document"),
        ]
    )
    chosen = choose(table, PROJECT)["prompt"].to_pylist()
    assert len(chosen) == 3
    assert set(chosen) <= set(fitting)
    shuffled = table.take(pa.array(reversed(range(table.num_rows))))
    assert choose(shuffled, PROJECT)["prompt"].to_pylist() == chosen
    other = PROJECT.model_copy(update={"seed": 1})
    assert choose(table, other)["prompt"].to_pylist() != chosen


@pytest.mark.parametrize(
    ("text", "ended", "reason"),
    [
        ("What must I do to send 20 euros?", True, None),
        ("What must I do to send 20 euros", False, "unfinished"),
        ("  ?! ", True, "empty"),
        ("How do I send 30 euros?", True, "invented_fact"),
        ("How do I send 20 euros to <PERSON>?", True, "invented_fact"),
        ("Send?", True, "length"),
    ],
)
def test_faults(text: str, ended: bool, reason: str | None) -> None:
    assert fault("How can I send 20 euros?", text, ended) == reason


def test_a_variant_of_a_conversation_is_its_first_exchange(make_working: Any) -> None:
    parents = rows(make_working, ["how do I pay"], later=["by card?", "yes, too"]).to_pylist()
    table = draft(PROJECT, parents, (["how can I pay now", "which way can I pay"], [True, True]))
    assert table["later"].to_pylist() == [[], []]
    assert table["response"].to_pylist() == ["yes", "yes"]
    assert table["id"][0].as_py() == schema.content_id("qa", "how can I pay now", "yes")


def test_variants_keep_the_answer_and_name_their_parent(make_working: Any) -> None:
    parents = rows(make_working, ["how do I pay", "where is my card"], label="x", group="g").to_pylist()
    texts = (["how can I pay now", "pay 5", "where did my card go", ""], [True, True, True, True])
    table = draft(PROJECT, parents, texts)
    assert table.schema == schema.WORKING
    assert table["reason"].to_pylist() == [None, "invented_fact", None, "empty"]
    first = table.to_pylist()[0]
    assert first["origin"] == "synthetic"
    assert first["parent_id"] == parents[0]["id"]
    assert first["response"] == "yes"
    assert first["group"] == "g"
    assert first["id"] == schema.content_id("qa", "how can I pay now", "yes")
    assert table["parent_id"].to_pylist()[2:] == [parents[1]["id"]] * 2
