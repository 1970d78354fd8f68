"""Every character that was read is kept or counted, by a count that shares nothing with the one that is tested."""

from __future__ import annotations

import csv
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.read.text import Side, clean, joined, summed, to_text
from pipeline.read.text.clean import KINDS
from tests.read.text.pieces import HEADS, PIECES, TEXTS, mail

often = settings(max_examples=300, deadline=None, derandomize=True, database=None)
anything = st.lists(
    st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=("Cs",)), max_size=20), max_size=9
)


@often
@given(anything.map("".join), st.sampled_from(["customer", "agent"]), st.lists(st.sampled_from(TEXTS), max_size=2))
def test_read_is_kept_and_removed(raw: str, side: Side, earlier: list[str]) -> None:
    cleaned = clean(raw, side, earlier)
    assert len(raw) == len(cleaned.text) + sum(cleaned.removed.values())
    assert cleaned.removed.keys() <= set(KINDS)
    assert to_text(raw).text == raw or to_text(raw).removed


@often
@given(st.lists(anything.map("".join), max_size=3))
def test_joining_is_counted(raws: list[str]) -> None:
    parts = [to_text(raw) for raw in raws]
    whole = joined(*parts)
    assert sum(map(len, raws)) + whole.added == len(whole.text) + sum(whole.removed.values())
    assert sum(summed(*parts).values()) == sum(map(len, raws)) - sum(len(part.text) for part in parts)


@pytest.mark.parametrize("seed", range(300))
def test_each_kind_has_what_was_put_there(seed: int) -> None:
    """A mail put together of pieces whose fate is known; only white space may be counted under a neighbour."""
    raw, kept, lost = mail(random.Random(seed))
    cleaned = clean(raw, "customer")
    assert cleaned.text.split() == kept.split(), raw
    spaces = sum(character.isspace() for character in raw)
    assert cleaned.removed.keys() - {"whitespace"} == lost.keys()
    for kind, count in lost.items():
        assert count <= cleaned.removed[kind] <= count + spaces


def test_no_letter_comes_from_nowhere() -> None:
    """Of plain text only whole lines go, so letter by letter what is kept and what is lost make what was read."""
    lines = [line for piece in PIECES.values() for text in piece for line in text.split("\n")]
    for seed in range(1_000):
        dice = random.Random(seed)
        raw = "\n".join(dice.choices([*lines, *HEADS], k=dice.randrange(1, 20)))
        kept = clean(raw, "customer").text
        left = Counter(raw) - Counter(kept)
        assert not Counter(kept) - Counter(raw), raw
        assert left.total() == len(raw) - len(kept)


def test_rows_of_an_export(tmp_path: Path, read_rows: Any) -> None:
    head = ["Id", "Requester", "Assignee", "Subject", "Description", "Latest public comment"]
    rows = []
    for number in range(200):
        dice = random.Random(number)
        texts = [mail(dice)[0] if dice.random() < 0.8 else dice.choice(TEXTS) for _ in range(2)]
        rows.append([str(number), "Anna", "Ben", dice.choice(["Card", "", " A &amp; B ", "Hello"]), *texts])
    with (tmp_path / "zendesk.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    read = read_rows(tmp_path)
    assert len(read) == len(rows)
    for raw, row in zip(rows, read, strict=True):
        removed = sum(item["characters"] for item in row["removed"])
        assert row["characters"] == len(row["prompt"]) + len(row["response"]) + removed
        assert row["characters"] - sum(map(len, raw[3:])) in (0, 2)  # the blank line below the subject
