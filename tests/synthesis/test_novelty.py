"""Synthetic questions against the pool: exact, order-free, and no pair over the threshold escapes the bound."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from pipeline.evaluate.text_metrics import similarity, words
from pipeline.synthesis.novelty import reject_known


def drafts(make_working: Any, prompts: list[str]) -> Any:
    return make_working([{"prompt": text, "path": "p", "line": line} for line, text in enumerate(prompts, 1)])


def test_copies_of_the_pool_and_of_each_other_are_rejected(make_working: Any) -> None:
    pool = ["How do I block my card?"]
    judged = reject_known(
        drafts(make_working, ["how do i block my card", "Where is my refund?", "where is my refund"]), pool, 0.7
    )
    assert judged["reason"].to_pylist() == ["not_new", None, "not_new"]
    assert judged["score"].to_pylist()[0] == 1.0


def test_a_rejected_variant_does_not_stand_in_the_way_of_others(make_working: Any) -> None:
    pool = ["a b c d e f g h i j"]
    near = "a b c d e f g h x y"  # 0.8 to the pool
    nearer_to_it = "a b c d e f x y z w"  # 0.8 to `near`, 0.6 to the pool
    judged = reject_known(drafts(make_working, [near, nearer_to_it]), pool, 0.7)
    assert judged["reason"].to_pylist() == ["not_new", None]


def test_the_same_decisions_as_comparing_every_pair(make_working: Any) -> None:
    source = random.Random(1)
    texts = [" ".join(source.choices("abcdefgh", k=source.randint(1, 9))) for _ in range(120)]
    pool, variants = texts[:60], texts[60:]
    accepted, expected = [words(text) for text in pool], []
    for text in variants:
        score = max((similarity(words(text), other) for other in accepted), default=0.0)
        expected.append(score >= 0.7)
        if score < 0.7:
            accepted.append(words(text))
    judged = reject_known(drafts(make_working, variants), pool, 0.7)
    assert [reason == "not_new" for reason in judged["reason"].to_pylist()] == expected
    assert 0 < np.sum(expected) < len(expected)


def test_rows_already_rejected_keep_their_reason_and_empty_tables_pass(make_working: Any) -> None:
    assert reject_known(make_working([]), ["a"], 0.7).num_rows == 0
    table = make_working([{"prompt": "a b c", "stage": "synthesize", "reason": "length"}])
    assert reject_known(table, ["a b c"], 0.7)["reason"].to_pylist() == ["length"]
