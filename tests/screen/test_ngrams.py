"""Hashed n-grams: scores equal the matrix product, and nothing depends on what stands beside a text."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.screen import ngrams

TEXTS = ["My card was declined.", "", "x", "Überweisung fehlgeschlagen \N{GRINNING FACE}", "a" * 500, "ﬁne", "fine"]


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(1).integers(-40_000, 40_000, ngrams.BUCKETS).astype(np.int32)


def test_scores_are_the_matrix_times_the_weights(weights: np.ndarray) -> None:
    expected = ngrams.matrix(TEXTS) @ weights.astype(np.float64)
    assert ngrams.scores(TEXTS, weights) == pytest.approx(expected, rel=1e-6, abs=0.1)


def test_a_text_scores_the_same_to_the_bit_in_any_company(weights: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = np.concatenate([ngrams.scores([text], weights) for text in TEXTS])
    for characters in (1, 40, 1 << 16):
        monkeypatch.setattr(ngrams, "CHARACTERS", characters)
        assert (ngrams.scores(TEXTS, weights) == alone).all()
        assert (ngrams.scores(TEXTS[::-1], weights)[::-1] == alone).all()


def test_compatible_characters_and_case_are_one(weights: np.ndarray) -> None:
    one, other, third = ngrams.scores(["ﬁne card", "fine card", "FINE CARD"], weights)
    assert one == other == third


def test_no_text_is_no_row(weights: np.ndarray) -> None:
    assert ngrams.scores([], weights).size == 0
    assert ngrams.matrix([]).shape == (0, ngrams.BUCKETS)
