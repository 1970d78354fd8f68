"""The distilled screen: what it finds of a judge's positives, what it costs, and when it is not worth it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from pipeline.screen import distil
from pipeline.screen.distil import Screen

BAD = [stem + end for stem in ("grumpf", "zottel", "wimsel", "knarz") for end in ("", "er", "ing", "et", "s")]


def corpus(size: int, bad: float) -> list[str]:
    """Returns distinct texts of made-up words in a fixed random order; a share of them holds a bad one."""
    rng = Random(11)
    syllables = ["ka", "ri", "lo", "men", "tu", "sa", "bel", "dor", "fi", "gan", "ho", "ja", "pe", "quo", "vi", "xe"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(2_000)]
    texts = []
    for number in range(size):
        text = rng.choices(words, k=rng.randint(5, 15))
        if rng.random() < bad:
            text.insert(rng.randrange(len(text)), rng.choice(BAD))
        texts.append(f"{' '.join(text)} {number}")
    return texts


class Judge:
    """Scores 0.97 where a bad word stands, else 0.01, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += len(texts)
        return np.array([0.97 if is_bad(text) else 0.01 for text in texts], dtype=np.float32)


def is_bad(text: str) -> bool:
    return any(stem in text for stem in ("grumpf", "zottel", "wimsel", "knarz"))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return corpus(4_000, 0.04)


@pytest.fixture(scope="module")
def found(texts: list[str]) -> tuple[Screen, int]:
    judge = Judge()
    screen = distil.distil(texts, judge, np.zeros(len(texts)), 0.9, 0.99)
    assert screen is not None
    return screen, judge.asked


def test_it_flags_the_positives_of_other_texts_and_little_else(found: tuple[Screen, int]) -> None:
    fresh = corpus(8_000, 0.04)[4_000:]
    flagged = found[0].linear(fresh, np.zeros(len(fresh))) >= found[0].cut
    bad = np.array([is_bad(text) for text in fresh])
    assert flagged[bad].mean() >= 0.99
    assert flagged.mean() < distil.MOST_FLAGGED


def test_the_judge_is_asked_for_a_part_only(found: tuple[Screen, int], texts: list[str]) -> None:
    assert found[1] == len(found[0].known) < len(texts) / 2
    assert {distil.digest(text) for text in texts} >= set(found[0].known)


def test_the_same_texts_give_the_same_bytes(found: tuple[Screen, int], texts: list[str]) -> None:
    again = distil.distil(texts, Judge(), np.zeros(len(texts)), 0.9, 0.99)
    assert again is not None
    assert again.to_bytes() == found[0].to_bytes()
    back = Screen.from_bytes(found[0].to_bytes())
    assert back.to_bytes() == found[0].to_bytes()
    assert back.known == found[0].known


def test_a_hint_that_knows_the_answer_finds_rare_positives(texts: list[str]) -> None:
    rare = [text for number, text in enumerate(texts) if not is_bad(text) or number % 8 == 0]
    hints = np.array([6.0 if is_bad(text) else -6.0 for text in rare])
    judge = Judge()
    screen = distil.distil(rare, judge, hints, 0.9, 0.99)
    assert screen is not None
    assert judge.asked < len(rare) / 3
    flagged = screen.linear(rare, hints) >= screen.cut
    assert all(flagged[number] for number, text in enumerate(rare) if is_bad(text))


def test_where_the_pool_is_the_whole_run_it_is_exhausted(texts: list[str]) -> None:
    judge = Judge()
    screen = distil.distil(texts, judge, np.zeros(len(texts)), 0.9, 0.99, whole=True)
    assert screen is not None
    known = [distil.digest(text) in screen.known for text in texts]
    assert judge.asked == sum(known) < len(texts) / 2
    bad = [is_bad(text) for text in texts]
    assert sum(a and b for a, b in zip(known, bad, strict=True)) >= 0.99 * sum(bad)
    odds = screen.linear(texts, np.zeros(len(texts)))
    assert not any(odd >= screen.cut for odd, was in zip(odds.tolist(), known, strict=True) if not was)


def test_too_few_positives_to_judge_a_screen_by_mean_every_text(texts: list[str]) -> None:
    clean = [text for text in texts if not is_bad(text)]
    assert distil.distil(clean, Judge(), np.zeros(len(clean)), 0.9, 0.99, whole=True) is None


def test_a_judge_that_no_screen_can_foresee_gets_every_text(texts: list[str]) -> None:
    rng = np.random.default_rng(2)
    verdicts = dict(zip(texts, rng.random(len(texts)).tolist(), strict=True))

    def judge(some: Sequence[str]) -> np.ndarray:
        return np.array([verdicts[text] for text in some], dtype=np.float32)

    assert distil.distil(texts, judge, np.zeros(len(texts)), 0.9, 0.99) is None
