"""Counts that add up, or an error."""

from __future__ import annotations

import json
import pickle
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.curation.counts import SCORE_EDGES, Counts, _words
from pipeline.errors import IntegrityError


@pytest.fixture
def counts(make_working: Any) -> Counts:
    kept = make_working(
        [
            {"prompt": "one two", "lang": "en", "label": "a", "pii": ["PERSON"], "lang_score": 0.95, "toxicity": 0.2},
            {"prompt": "x", "lang": "de", "lang_score": 1.0},
        ]
    )
    counts = Counts()
    counts.add_kept(kept, pa.array(["train", "val"]))
    counts.add_rejected(schema.mark(make_working([{"prompt": ""}]), np.array([True]), "read", "empty_prompt"))
    foreign = make_working([{"prompt": "bonjour", "lang": "fr", "lang_score": 0.01}])
    counts.add_rejected(schema.mark(foreign, np.array([True]), "language", "language", [0.01], 0.95))
    return counts


def test_reconciles(counts: Counts) -> None:
    counts.check({"tickets": 4})
    metrics = counts.metrics({"tickets": 4, "empty": 0})
    rejected = {"empty_prompt": 1, "language": 1}
    assert metrics["sources"]["tickets"] == {"read": 4, "kept": 2, "rejected": rejected}
    assert metrics["sources"]["empty"] == {"read": 0, "kept": 0, "rejected": {}}
    assert metrics["splits"] == {"train": 1, "val": 1, "golden": 0}
    assert metrics["funnel"][-1] == {"stage": "dedup", "rows": 2}
    assert sum(metrics["lengths"]["prompt"]["counts"]) == 2
    assert metrics["labels"]["train"] == {"a": 1}
    assert metrics["labels"]["val"] == {"": 1}


@pytest.mark.parametrize("read", [{"tickets": 5}, {"tickets": 3}, {}])
def test_a_lost_or_doubled_row_is_an_error(counts: Counts, read: dict[str, int]) -> None:
    with pytest.raises(IntegrityError, match="source tickets"):
        counts.check(read)


def test_reasons_come_in_the_order_of_the_stages_with_their_thresholds(counts: Counts) -> None:
    reasons = counts.metrics({"tickets": 4})["reasons"]
    assert reasons == [
        {"stage": "read", "reason": "empty_prompt", "threshold": None, "rows": 1, "by_source": {"tickets": 1}},
        {"stage": "language", "reason": "language", "threshold": 0.95, "rows": 1, "by_source": {"tickets": 1}},
    ]


def test_a_stage_the_recipe_does_not_know_still_takes_its_rows_out_of_the_funnel(make_working: Any) -> None:
    counts = Counts()
    counts.add_rejected(schema.mark(make_working([{"prompt": "x"}]), np.array([True]), "census", "counted"))
    assert counts.metrics({"tickets": 1})["funnel"][-1] == {"stage": "census", "rows": 0}


def test_languages_are_counted_for_both_fates_and_only_where_judged(counts: Counts) -> None:
    metrics = counts.metrics({"tickets": 4})
    assert metrics["languages"] == {"de": 1, "en": 1}
    assert metrics["languages_rejected"] == {"fr": 1}
    scores = metrics["scores"]["lang_score"]
    assert scores["kept"]["counts"][SCORE_EDGES.index(0.95)] == 1  # 0.95 itself, although float32 lies below
    assert scores["kept"]["counts"][-1] == 1
    assert scores["rejected"]["counts"][0] == sum(scores["rejected"]["counts"]) == 1


def test_toxicity_is_counted_where_it_was_scored(counts: Counts) -> None:
    scores = counts.metrics({"tickets": 4})["scores"]["toxicity"]
    assert sum(scores["kept"]["counts"]) == scores["kept"]["counts"][2] == 1
    assert sum(scores["rejected"]["counts"]) == 0


def test_personal_details_by_source_and_the_rows_that_have_any(make_working: Any) -> None:
    rows = [
        {"prompt": "a", "source": "x", "pii": ["PERSON", "PERSON", "IBAN_CODE"]},
        {"prompt": "b", "source": "x", "pii": []},
        {"prompt": "c", "source": "y", "pii": ["PERSON"]},
        {"prompt": "d", "source": "y", "pii": None},
    ]
    counts = Counts()
    counts.add_kept(make_working(rows), pa.array(["train"] * 4))
    metrics = counts.metrics({"x": 2, "y": 2, "z": 0})
    assert metrics["pii"] == {"IBAN_CODE": 1, "PERSON": 3}
    assert metrics["pii_by_source"] == {"x": {"IBAN_CODE": 1, "PERSON": 2}, "y": {"PERSON": 1}, "z": {}}
    assert metrics["pii_rows"] == {"x": 1, "y": 1, "z": 0}


def test_tokens_are_estimated_from_characters(make_working: Any) -> None:
    counts = Counts()
    counts.add_kept(make_working([{"prompt": "äöü" * 10, "response": "x" * 50}]), pa.array(["train"]))
    assert counts.metrics({"tickets": 1})["tokens_estimate"] == {"train": 20, "val": 0, "golden": 0}


def test_later_turns_count_as_text_and_as_exchanges(make_working: Any) -> None:
    counts = Counts()
    rows = [
        {"prompt": "a" * 10, "response": "b c", "later": ["d" * 8, "e f g h"] * 2},
        {"prompt": "a", "response": "b"},
    ]
    counts.add_kept(make_working(rows), pa.array(["train", "val"]))
    metrics = counts.metrics({"tickets": 2})
    assert metrics["exchanges"] == {"1": 1, "3": 1}
    assert metrics["lengths"]["response"]["counts"][:3] == [1, 0, 1]  # 1 word, and 2 + 4 + 4
    assert metrics["lengths"]["prompt"]["counts"][0] == 2
    assert metrics["tokens_estimate"]["train"] == round((30 + 21) / 4)  # with the blank lines between


@pytest.mark.parametrize("chunks", [[], [[]], [[None, "", " \n\t"]], [["", "one"], [" two words\n", None, "äö  ü x"]]])
def test_words_are_what_splitting_would_give(chunks: list[list[str | None]]) -> None:
    texts = pa.chunked_array(chunks, pa.string())
    assert _words(texts).tolist() == [len((text or "").split()) for text in texts.to_pylist()]


def test_words_of_a_slice_are_those_of_its_rows() -> None:
    texts = pa.table({"text": ["one", "two three", "four five six", ""]}).slice(1, 2)["text"]
    assert _words(texts).tolist() == [2, 3]


def test_an_empty_table_counts_nothing(make_working: Any) -> None:
    counts = Counts()
    counts.add_kept(make_working([]), pa.array([], pa.string()))
    counts.add_rejected(make_working([]))
    assert counts.metrics({}) == Counts().metrics({})


def test_any_partition_in_any_order_gives_the_same_bytes(make_working: Any) -> None:
    draw = random.Random(3)
    rows = [
        {
            "prompt": "word " * draw.randrange(60),
            "response": str(n),
            "source": draw.choice("ab"),
            "label": draw.choice(["x", "y", None]),
            "lang": draw.choice(["en", "de", None]),
            "lang_score": draw.random(),
            "toxicity": draw.choice([None, draw.random()]),
            "pii": draw.choices(["PERSON", "IBAN_CODE"], k=draw.randrange(3)),
        }
        for n in range(60)
    ]
    splits = [draw.choice(["train", "val", "golden"]) for _ in rows]

    table, marked = make_working(rows), np.arange(60) % 4 == 0
    table = schema.mark(table, marked, "exact", "exact_duplicate")
    read = {"a": 60, "b": 60}

    def count(chosen: list[int]) -> Counts:
        kept = [n for n in chosen if not marked[n]]
        counts = Counts()
        counts.add_kept(table.take(pa.array(kept, pa.int64())), pa.array([splits[n] for n in kept], pa.string()))
        counts.add_rejected(table.take(pa.array([n for n in chosen if marked[n]], pa.int64())))
        return counts

    whole = json.dumps(count(list(range(60))).metrics(read))
    shuffled = draw.sample(range(60), 60)
    for size in (1, 7, 60):
        total = Counts()
        for at in range(0, 60, size):
            total.merge(pickle.loads(pickle.dumps(count(shuffled[at : at + size]))))
        assert json.dumps(total.metrics(read)) == whole


def test_what_reading_removed_is_counted_and_the_rows_that_lost_most_come_first(make_working: Any) -> None:
    rows = [
        {"prompt": f"row {n}", "characters": 100 + n, "removed": [{"kind": "quote", "characters": n}]}
        for n in range(30)
    ]
    rows[5]["removed"] = [{"kind": "markup", "characters": 90}, {"kind": "whitespace", "characters": -2}]
    rows.append({"prompt": "old", "source": "other"})  # as a stage before this version left it
    whole = make_working(rows)
    tables = [whole, pa.concat_tables([whole[:7], whole[7:20], whole[20:]])]
    halves = []
    for table in tables:
        counts = Counts()
        counts.add_kept(table, pa.array(["train"] * table.num_rows))
        halves.append(counts.metrics({"tickets": 30, "other": 1})["removed"])
    first, second = Counts(), Counts()
    first.add_kept(whole[:11], pa.array(["train"] * 11))
    second.add_rejected(schema.mark(whole[11:], np.ones(20, dtype=bool), "quality", "too_short"))
    first.merge(pickle.loads(pickle.dumps(second)))
    assert halves[0] == halves[1] == first.metrics({"tickets": 30, "other": 1})["removed"]
    found = halves[0]
    quoted = sum(range(30)) - 5
    read = sum(range(100, 130))
    assert found["sources"]["tickets"] == {
        "read": read, "kept": read - quoted - 88, "removed": {"markup": 90, "quote": quoted, "whitespace": -2}
    }  # fmt: skip
    assert found["sources"]["other"] == {"read": 0, "kept": 0, "removed": {}}
    assert found["kinds"]["quote"] == {"characters": quoted, "rows": 29}
    assert [row["removed"]["quote"] for row in found["most"]] == list(range(29, 9, -1))
    assert json.loads(json.dumps(found)) == found
