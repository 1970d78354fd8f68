"""ROUGE-L on words of any language."""

from __future__ import annotations

import pytest

from pipeline.evaluate.metrics import rouge_l, similarity, words


def test_words_keep_umlauts_and_digits() -> None:
    assert words("Überweisung: 20 Euro!") == ["überweisung", "20", "euro"]


def test_longest_common_subsequence() -> None:
    assert similarity(["a", "b", "c", "d"], ["a", "x", "c", "d"]) == pytest.approx(0.75)
    assert similarity([], ["a"]) == 0.0


def test_mean_over_pairs() -> None:
    assert rouge_l(["ä b", "c"], ["ä b", "d"]) == pytest.approx(0.5)
    assert rouge_l([], []) == 0.0
    with pytest.raises(ValueError, match="argument"):
        rouge_l(["a"], [])
