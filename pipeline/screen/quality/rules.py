"""What no model should learn from: machine mail, canned receipts, answers that answer nothing, broken text.

Output contract: `QualityStage` marks `(quality, rule, score, threshold)` and changes no text. The first of `RULES` that
objects gives the reason; a rule is named like the setting that holds its threshold, and null turns it off. The score of
machine mail and of receipts is their length in tokens, for a longer message is taken for a person's; of lengths it is
tokens too, of all else a share. Documents are judged by length, symbols and repetition alone.
The defaults are for what is certain: they reject no row of the bundled sample. About 30,000 tickets/s and core.
This module does not judge whether an answer is right, and sees one row at a time.
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
        for name, score, objects, limit in self._rules:
            scores = score(batch)
            rejected = objects(scores, limit)  # never where the score is NaN: the rule does not apply
            if rejected.any():
                table = schema.mark(table, rejected, "quality", name, np.asarray(scores, np.float32), limit)
        return table


class _Batch:
    """The columns that the rules look at. `asked` and `answered`: tokens; `tickets`: the rows of kind qa."""

    def __init__(self, table: pa.Table, phrases: Sequence[str]) -> None:
        texts = (pc.fill_null(table[name], "").combine_chunks() for name in ("prompt", "response"))
        self.prompt, self.response = texts
        self.phrases = phrases
        self.tickets = np.asarray(pc.equal(table["kind"], "qa"), dtype=bool)
        self.asked, self.answered = text_stats.tokens(self.prompt), text_stats.tokens(self.response)


# -- scores: one number per row, NaN where the rule does not apply ----------------------------------------------------


def _message(signs: Callable[[pa.Array], np.ndarray]) -> Callable[[_Batch], np.ndarray]:
    """Scores tickets whose question or answer has the signs by the length of that text."""

    def score(batch: _Batch) -> np.ndarray:
        found = np.where(signs(batch.response), batch.answered, np.nan)
        found = np.where(signs(batch.prompt), batch.asked, found)
        return np.where(batch.tickets, found, np.nan)

    return score


def _template(batch: _Batch) -> np.ndarray:
    found = boilerplate.receipts(batch.response, batch.phrases) & batch.tickets
    return np.where(found, batch.answered, np.nan)


def _likeness(batch: _Batch) -> np.ndarray:
    """Returns how alike answer and question are: the Jaccard similarity of their words, blind to case and punctuation;
    with or without the question's first paragraph, its subject. Only texts of much the same length are compared."""
    found = np.full(len(batch.tickets), np.nan)
    answer, whole = (np.asarray(pc.binary_length(text), dtype=np.int64) for text in (batch.response, batch.prompt))
    gap = np.asarray(pc.find_substring(batch.prompt, "\n\n"), dtype=np.int64)
    for start in (np.zeros_like(gap), np.where(gap < 0, 0, gap + 2)):
        question = whole - start
        close = batch.tickets & (np.abs(answer - question) <= UNLIKE * np.maximum(answer, question))
        for row in np.flatnonzero(close):
            asked = batch.prompt[int(row)].as_py().encode()[start[row] :].decode(errors="ignore")
            ours, theirs = _words(batch.response[int(row)].as_py()), _words(asked)
            alike = len(ours & theirs) / len(ours | theirs) if ours | theirs else np.nan
            found[row] = np.fmax(found[row], alike)
    return found


def _words(text: str) -> set[str]:
    return set("".join(char if char.isalnum() else " " for char in text.casefold()).split())


def _answer(batch: _Batch) -> np.ndarray:
    return np.where(batch.tickets, batch.answered, np.nan)


def _row(batch: _Batch) -> np.ndarray:
    return np.asarray(batch.asked + batch.answered, dtype=float)


def _either(measure: Callable[[pa.Array], np.ndarray]) -> Callable[[_Batch], np.ndarray]:
    """Scores a row by the larger value of question and answer."""
    return lambda batch: np.maximum(measure(batch.prompt), measure(batch.response))


Rule = tuple[str, Callable[[_Batch], np.ndarray], Callable[[np.ndarray, float], np.ndarray]]
RULES: tuple[Rule, ...] = (  # setting and reason, score, when it objects; the most telling first
    ("bounce", _message(boilerplate.bounces), np.less_equal),
    ("auto_reply", _message(boilerplate.auto_replies), np.less_equal),
    ("system_message", _message(boilerplate.system_messages), np.less_equal),
    ("template_answer", _template, np.less_equal),
    ("answer_repeats_question", _likeness, np.greater_equal),
    ("answer_too_short", _answer, np.less),
    ("too_short", _row, np.less),
    ("too_long", _row, np.greater),
    ("symbols", _either(text_stats.symbols), np.greater),
    ("repeated_lines", _either(text_stats.repeated_lines), np.greater),
    ("repeated_words", _either(text_stats.top_gram), np.greater),
)
