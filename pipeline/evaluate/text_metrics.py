"""Text metrics.

Output contract: ROUGE-L, exact match and BERTScore are plain floats in [0, 1], BLEU and chrF in [0, 100] as sacrebleu
has them. Words are Unicode words in lower case: the stock ROUGE tokeniser keeps only a-z and 0-9 and would cut German
words at every umlaut. The `*_counts` functions return what a metric counts in each row: added up over any set of rows
they give that set's score.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.evaluate.bootstrap import Statistics

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Returns the lower-case words of a text."""
    return _WORD.findall(text.lower())


class _Split:
    """The tokenizer that rouge-score is given: words that are already cut, joined by blanks."""

    def tokenize(self, text: str) -> list[str]:
        return text.split(" ") if text else []


@functools.cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Split())


def similarity(a: Sequence[str], b: Sequence[str]) -> float:
    """Returns the ROUGE-L F-measure (Lin 2004, rouge-score) of two lists of words."""
    return float(_scorer().score(" ".join(a), " ".join(b))["rougeL"].fmeasure)


def rouge_l(references: Sequence[str], predictions: Sequence[str]) -> float:
    """Returns the mean ROUGE-L F-measure of predictions against references, pairwise."""
    return ratio(rouge_l_counts(references, predictions).sum(0))


def rouge_l_counts(references: Sequence[str], predictions: Sequence[str]) -> Statistics:
    """Returns each pair's ROUGE-L F-measure and 1; shape (rows, 2), for `ratio`."""
    scores = [similarity(words(a), words(b)) for a, b in zip(references, predictions, strict=True)]
    return np.array([[score, 1.0] for score in scores]).reshape(-1, 2)


def exact_counts(references: Sequence[str], predictions: Sequence[str], most_words: int) -> Statistics:
    """Returns 1 where the words of both are the same, and 1 where the reference is short enough to ask for that; (0, 0)
    for a longer one. Shape (rows, 2), for `ratio`."""
    rows = []
    for reference, prediction in zip(references, predictions, strict=True):
        asked = 0 < len(words(reference)) <= most_words
        rows.append([float(asked and words(reference) == words(prediction)), float(asked)])
    return np.array(rows).reshape(-1, 2)


def ratio(counts: Statistics) -> float:
    """Returns the first count per second, 0 where there is none."""
    return float(counts[0] / counts[1]) if counts[1] else 0.0


class Sacre:
    """A corpus metric of sacrebleu (Post 2018): BLEU (13a tokens, exponential smoothing) or chrF (order 6, beta 2)."""

    def __init__(self, name: str) -> None:
        from sacrebleu.metrics import BLEU, CHRF

        self._metric = {"bleu": BLEU, "chrf": CHRF}[name]()

    def counts(self, references: Sequence[str], predictions: Sequence[str]) -> Statistics:
        """Returns each pair's n-gram counts, which add up over a corpus; sacrebleu's own bootstrap uses them so."""
        statistics = self._metric._extract_corpus_statistics(list(predictions), [list(references)])
        return np.array(statistics, np.float64)

    def score(self, counts: Statistics) -> float:
        """Returns the corpus score of counts that are added up."""
        return float(self._metric._compute_score_from_stats(counts.round().astype(int).tolist()).score)
