"""Text metrics.

Output contract: ROUGE-L, exact match and BERTScore are plain floats in [0, 1], BLEU and chrF in [0, 100] as sacrebleu
has them. The `*counts` functions return what a metric counts in each row: added up over any set of rows they give that
set's score, and where the second count is 0 there is none. Texts are compared in Unicode's form NFC.
Words are those of any script: the stock ROUGE tokeniser keeps only a-z and 0-9. Scripts without blanks between words
(Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) count by the character, with its marks. A money sign is a word.
BLEU cuts each row by its language, with sacrebleu's own tokenizers; those that need a package or a download more
(MeCab, SentencePiece) are left out, so that figures owe nothing to what is installed.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.evaluate.bootstrap import Statistics

_NO_BLANKS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_OTHER_SCRIPTS = "am ar as bn ckb dv fa gu he hi hy ka kn ko ml mr ne or pa ps sa sd si ta te ug ur yi"
_TOKENIZERS = {  # of sacrebleu, by language: `13a` knows no punctuation but ASCII's
    **dict.fromkeys(_OTHER_SCRIPTS.split(), "intl"),
    **dict.fromkeys(("bo", "ja", "km", "lo", "my", "th"), "char"),
    "zh": "zh",
}


def nfc(text: str) -> str:
    """Returns a text in Unicode's form NFC: one code for a letter and its accents."""
    return unicodedata.normalize("NFC", text)


@functools.cache
def _word() -> Any:
    import regex  # comes with sacrebleu; `re` takes the vowel signs of Hindi or Tamil for no letters

    return regex.compile(rf"[[{_NO_BLANKS}]&&\w]\p{{M}}*|[\w--[{_NO_BLANKS}]]+|\p{{Sc}}|[%‰]", regex.VERSION1)


def words(text: str) -> list[str]:
    """Returns the lower-case words of a text, and its money and per cent signs."""
    return list(_word().findall(nfc(text).lower()))


def similarity(a: Sequence[str], b: Sequence[str]) -> float:
    """Returns the ROUGE-L F-measure (Lin 2004) of two lists of words, as rouge-score computes it."""
    common = _longest_common(a, b)
    if not common:
        return 0.0
    precision, recall = common / len(b), common / len(a)
    return 2 * precision * recall / (precision + recall)


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence, a bit for each word of `a` (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << place
    full = row = (1 << len(a)) - 1
    for word in b:
        hits = row & places.get(word, 0)
        row = (row + hits | row - hits) & full
    return len(a) - row.bit_count()


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
    """A corpus metric of sacrebleu (Post 2018): BLEU (exponential smoothing) or chrF (order 6, beta 2)."""

    def __init__(self, name: str) -> None:
        self._name = name

    def counts(self, references: Sequence[str], predictions: Sequence[str], langs: Sequence[str | None]) -> Statistics:
        """Returns each pair's n-gram counts, which add up over a corpus; sacrebleu's own bootstrap uses them so.

        The second count is of the reference. `langs` are ISO 639 codes; `13a` cuts a row without one.
        """
        rows = []
        for reference, prediction, lang in zip(references, predictions, langs, strict=True):
            metric = _metric(self._name, _TOKENIZERS.get(lang or "", "13a"))
            rows += metric._extract_corpus_statistics([nfc(prediction)], [[nfc(reference)]])
        return np.array(rows, np.float64)

    def score(self, counts: Statistics) -> float:
        """Returns the corpus score of counts that are added up."""
        metric = _metric(self._name, "13a")  # the score owes nothing to how texts were cut
        return float(metric._compute_score_from_stats(counts.round().astype(int).tolist()).score)


@functools.cache
def _metric(name: str, tokenizer: str) -> Any:
    from sacrebleu.metrics import BLEU, CHRF

    return BLEU(tokenize=tokenizer) if name == "bleu" else CHRF()
