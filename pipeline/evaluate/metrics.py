"""Text metrics.

Output contract: plain floats in [0, 1]. Words are Unicode words in lower case: the stock ROUGE tokeniser keeps only
a-z and 0-9 and would cut German words at every umlaut.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

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
    scores = [similarity(words(a), words(b)) for a, b in zip(references, predictions, strict=True)]
    return sum(scores) / max(1, len(scores))
