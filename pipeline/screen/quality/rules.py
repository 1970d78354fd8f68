"""Quality rules: machine mail, canned receipts, empty answers, broken text.

Output contract: `QualityStage` marks `(quality, rule, score, threshold)` and changes no text. The first of `RULES` to
reject a row is the reason; a rule has the name of the setting with its threshold, and null turns it off. The score of
machine mail and receipts is the length in tokens, as a longer message is taken for a person's; of lengths it is tokens
too, of all else a share. Documents are subject to the rules on length, symbols and repetition alone. Every exchange of
a conversation is scored, a question with its answer: of machine mail and receipts the shortest one counts, of shares
the highest, of lengths their sum.
The defaults reject clear cases only, and no row of the bundled sample. About 30,000 tickets/s and core.
This module does not check whether an answer is right, and sees one row at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.config import Quality
from pipeline.screen.quality import boilerplate, text_stats

UNLIKE = 0.15  # difference in length, as a share of the longer text, from which answer and question are not compared


class QualityStage:
    """Marks rows by rules; no model, one instance per actor."""

    def __init__(self, settings: Quality) -> None:
        self._phrases = settings.template_phrases
        limits = settings.model_dump()
        self._rules = [(*rule, float(limits[rule[0]])) for rule in RULES if limits[rule[0]] is not None]

    def __call__(self, table: pa.Table) -> pa.Table:
        batch = _Batch(table, self._phrases)
        for name, score, of_row, rejects, limit in self._rules:
            scores = of_row.reduceat(score(batch), batch.starts)
            rejected = rejects(scores, limit)  # never where the score is NaN: the rule does not apply
            if rejected.any():
                table = schema.mark(table, rejected, "quality", name, np.asarray(scores, np.float32), limit)
        return table


class _Batch:
    """What the rules look at: the exchanges of all rows, one after the other. `asked` and `answered`: tokens;
    `tickets`: those of rows of kind qa; `starts`: where each row begins."""

    def __init__(self, table: pa.Table, phrases: Sequence[str]) -> None:
        texts, starts = schema.turns(table)
        self.prompt, self.response = (texts.take(np.arange(side, len(texts), 2)) for side in (0, 1))
        self.starts = starts[:-1] // 2
        self.phrases = phrases
        self.tickets = np.repeat(np.asarray(pc.equal(table["kind"], "qa"), dtype=bool), np.diff(starts) // 2)
        self.asked, self.answered = text_stats.tokens(self.prompt), text_stats.tokens(self.response)


# -- scores: one number per exchange, NaN where the rule does not apply -----------------------------------------------


def _message(signs: Callable[[pa.Array], np.ndarray]) -> Callable[[_Batch], np.ndarray]:
    """Scores exchanges whose question or answer has the signs by the length of that text."""

    def score(batch: _Batch) -> np.ndarray:
        length = np.where(signs(batch.response), batch.answered, np.nan)
        length = np.where(signs(batch.prompt), batch.asked, length)
        return np.where(batch.tickets, length, np.nan)

    return score


def _template(batch: _Batch) -> np.ndarray:
    receipt = boilerplate.receipts(batch.response, batch.phrases) & batch.tickets
    return np.where(receipt, batch.answered, np.nan)


def _similarity(batch: _Batch) -> np.ndarray:
    """Returns the Jaccard similarity of the words of answer and question, case and punctuation aside: the greater one
    with or without the question's first paragraph, its subject. Only texts of similar length are compared."""
    similarity = np.full(len(batch.tickets), np.nan)
    answer, whole = (np.asarray(pc.binary_length(text), dtype=np.int64) for text in (batch.response, batch.prompt))
    gap = np.asarray(pc.find_substring(batch.prompt, "\n\n"), dtype=np.int64)
    for start in (np.zeros_like(gap), np.where(gap < 0, 0, gap + 2)):
        question = whole - start
        close = batch.tickets & (np.abs(answer - question) <= UNLIKE * np.maximum(answer, question))
        for row in np.flatnonzero(close):
            asked = batch.prompt[int(row)].as_py().encode()[start[row] :].decode(errors="ignore")
            one, other = _words(batch.response[int(row)].as_py()), _words(asked)
            jaccard = len(one & other) / len(one | other) if one | other else np.nan
            similarity[row] = np.fmax(similarity[row], jaccard)
    return similarity


def _words(text: str) -> set[str]:
    return set("".join(char if char.isalnum() else " " for char in text.casefold()).split())


def _answer(batch: _Batch) -> np.ndarray:
    return np.where(batch.tickets, batch.answered, np.nan)


def _both(batch: _Batch) -> np.ndarray:
    return np.asarray(batch.asked + batch.answered, dtype=float)


def _either(measure: Callable[[pa.Array], np.ndarray]) -> Callable[[_Batch], np.ndarray]:
    """Scores an exchange by the larger value of question and answer."""
    return lambda batch: np.maximum(measure(batch.prompt), measure(batch.response))


Rule = tuple[str, Callable[[_Batch], np.ndarray], np.ufunc, Callable[[np.ndarray, float], np.ndarray]]
RULES: tuple[Rule, ...] = (  # setting and reason, score, the row's of its exchanges', comparison; most specific first
    ("bounce", _message(boilerplate.bounces), np.fmin, np.less_equal),
    ("auto_reply", _message(boilerplate.auto_replies), np.fmin, np.less_equal),
    ("system_message", _message(boilerplate.system_messages), np.fmin, np.less_equal),
    ("read_receipt", _message(boilerplate.read_receipts), np.fmin, np.less_equal),
    ("voicemail", _message(boilerplate.voicemails), np.fmin, np.less_equal),
    ("newsletter", _message(boilerplate.newsletters), np.fmin, np.less_equal),
    ("closing_words", _message(boilerplate.closings), np.maximum, np.less_equal),
    ("template_answer", _template, np.fmin, np.less_equal),
    ("answer_repeats_question", _similarity, np.fmax, np.greater_equal),
    ("answer_too_short", _answer, np.add, np.less),
    ("too_short", _both, np.add, np.less),
    ("too_long", _both, np.add, np.greater),
    ("symbols", _either(text_stats.symbols), np.maximum, np.greater),
    ("repeated_lines", _either(text_stats.repeated_lines), np.maximum, np.greater),
    ("repeated_words", _either(text_stats.top_gram), np.maximum, np.greater),
)
