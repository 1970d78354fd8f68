"""Quoted replies, signatures and footers of real mail clients: what goes, what stays, and that it ends."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.read.text import clean
from pipeline.read.text.characters import tidy

Mail = list[tuple[str, str]]


def load() -> dict[str, Mail]:
    """Returns each mail as (sign, line): + the sender's own, = a closing, - not theirs."""
    text = (Path(__file__).parent / "mails.txt").read_text(encoding="utf-8")
    mails = {}
    for block in re.split(r"(?m)^# ", text)[1:]:
        name, *lines = block.strip("\n").split("\n")
        mails[name] = [(line[0], line[2:]) for line in lines if line]
    return mails


MAILS = load()


def own_words(text: str) -> str:
    return clean(text, "customer").text


def answer_words(text: str) -> str:
    return clean(text, "agent").text


def text_of(mail: Mail, signs: str = "+=-") -> str:
    return "\n".join(line for sign, line in mail if sign in signs)


@pytest.mark.parametrize("name", MAILS)
def test_what_is_not_the_senders_goes_and_all_else_stays(name: str) -> None:
    expected = tidy(text_of(MAILS[name], "+="))
    assert own_words(tidy(text_of(MAILS[name]))) == expected
    assert own_words(expected) == expected


def test_an_answer_keeps_its_signature_and_loses_its_footer() -> None:
    signed = "You find it under Cards.\n\nKind regards\nBob\nPfennigo Ltd.\nPhone: 020 1234567"
    footer = "\n\nThis e-mail is confidential and intended solely for the addressee."
    quote = "\n\nOn 5 Jan 2026, at 10:00, Anna wrote:\n> Where?"
    assert answer_words(signed + footer + quote) == signed


@pytest.mark.parametrize("words", [own_words, answer_words])
def test_never_empties_a_text_and_a_second_time_changes_nothing(words: Callable[[str], str]) -> None:
    """On 3,000 shuffles of the lines of all mails, indented and quoted at random."""
    lines = [line for mail in MAILS.values() for _, line in mail]
    for seed in range(3_000):
        dice = random.Random(seed)
        chosen = dice.choices(lines, k=dice.randrange(1, 25))
        text = tidy("\n".join(dice.choice(["", "", "", "", "> ", "  ", "> > "]) + line for line in chosen))
        once = words(text)
        assert bool(once) == bool(text), f"seed {seed}"
        assert words(once) == once, f"seed {seed}"
        assert len(once) <= len(text)


@pytest.mark.parametrize("text", ["wrote ", "Viele Grüße\n", "> x\n", "on a\nwrote\n", "x\n--\n", "Grüße\nX AG\n\n"])
def test_the_time_grows_with_the_length_not_faster(text: str) -> None:
    started = time.process_time()
    assert own_words((text * (200_000 // len(text))).strip())
    assert time.process_time() - started < 2
