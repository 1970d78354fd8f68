"""ROUGE-L on words of any language."""

from __future__ import annotations

import pytest

from pipeline.evaluate.text_metrics import Sacre, exact_counts, ratio, rouge_l, rouge_l_counts, similarity, words


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


PAIRS = [
    ("Your card was blocked, and a new one is on its way.", "Your card is blocked and the new one is on its way."),
    ("Bitte öffnen Sie die App und wählen Sie Karten.", "Öffnen Sie die App."),
    ("refund", "Refund."),
    ("no", "yes"),
]
REFERENCES, PREDICTIONS = [pair[0] for pair in PAIRS], [pair[1] for pair in PAIRS]


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_added_up_counts_give_what_sacrebleu_says(name: str) -> None:
    import sacrebleu

    metric = Sacre(name)
    counts = metric.counts(REFERENCES, PREDICTIONS)
    assert len(counts) == 4
    for part in (slice(0, 4), slice(0, 2), slice(1, 2)):
        whole = {"bleu": sacrebleu.corpus_bleu, "chrf": sacrebleu.corpus_chrf}[name](
            PREDICTIONS[part], [REFERENCES[part]]
        )
        assert metric.score(counts[part].sum(0)) == pytest.approx(whole.score)
    assert 5 < metric.score(counts.sum(0)) < 95


def test_rouge_counts_add_up_to_the_mean() -> None:
    counts = rouge_l_counts(REFERENCES, PREDICTIONS)
    assert ratio(counts.sum(0)) == pytest.approx(rouge_l(REFERENCES, PREDICTIONS))
    assert counts[2, 0] == 1.0


def test_exact_match_asks_short_references_only() -> None:
    counts = exact_counts(REFERENCES, PREDICTIONS, 5)
    assert counts.tolist() == [[0, 0], [0, 0], [1, 1], [0, 1]]
    assert ratio(counts.sum(0)) == 0.5
    assert ratio(counts[:2].sum(0)) == 0.0
