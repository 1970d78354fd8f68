"""Toxicity: Detoxify's score of prompt and response, of every row or of those that do not leave the model early.

Output contract: `ToxicityStage` scores prompt and response apart, so that a polite answer does not dilute an abusive
question, and marks `(toxicity, toxicity, score, threshold)` where the higher of the two reaches the threshold. A text
longer than the model's input is scored in overlapping windows, and the highest counts. Scores have 3 decimals. With an
early exit, cleared texts have no score, except in audited rows. `scored` holds the counts of the last table.
This module does not train and keeps no scores of texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import Toxicity
from pipeline.screen.toxicity import audit
from pipeline.screen.toxicity.audit import Audit
from pipeline.screen.toxicity.early_exit import EarlyExit, digest
from pipeline.screen.toxicity.encoder import Encoder


@dataclass(frozen=True)
class Plan:
    """How a pass scores: every text in full, or with an early exit and an audit of the rows that it clears."""

    early_exit: EarlyExit | None = None
    audit_floor: float = 1.0  # least probability that a cleared row is audited


@dataclass(frozen=True)
class Scored:
    """Counts of one table or several: its distinct texts, those with a score, and the audit's."""

    texts: int
    scored: int
    audit: Audit

    def __add__(self, other: Scored) -> Scored:
        return Scored(self.texts + other.texts, self.scored + other.scored, self.audit + other.audit)


class ToxicityStage:
    """Marks toxic rows; one instance per actor, on the GPU when there is one."""

    def __init__(self, settings: Toxicity, plan: Plan | None = None, encoder: Encoder | None = None) -> None:
        self._threshold = np.float32(settings.threshold)
        self._plan = plan or Plan()
        self._encoder = encoder or Encoder(settings.model)
        self.scored = Scored(0, 0, Audit.empty(self._plan.audit_floor))  # of the last table

    def __call__(self, table: pa.Table) -> pa.Table:
        unmarked = schema.unmarked(table)
        rows = table.filter(pa.array(unmarked))
        texts, index = _distinct(rows)
        if self._plan.early_exit is None:
            values = self._encoder(texts)[index]
            detected = int(self._toxic(values).sum())
            self.scored = Scored(len(texts), len(texts), Audit.empty(self._plan.audit_floor, detected))
        else:
            values = self._with_early_exit(self._plan.early_exit, texts, index, rows["id"].to_pylist())
        scores = np.full(table.num_rows, np.nan, dtype=np.float32)
        highest = values.max(axis=0)  # nan where one of them has no score, and so the row has none
        scores[unmarked] = np.where(self._toxic(values), np.fmax.reduce(values), highest)
        table = schema.replaced(table, "toxicity", pa.array(scores, mask=np.isnan(scores)))
        return schema.mark(table, scores >= self._threshold, "toxicity", "toxicity", scores, float(self._threshold))

    def _toxic(self, values: np.ndarray) -> np.ndarray:
        """Returns whether a text of each row reaches the threshold, bool (rows,), from scores (turns, rows)."""
        return np.asarray((values >= self._threshold).any(axis=0))

    def _with_early_exit(
        self, early_exit: EarlyExit, texts: list[str], index: np.ndarray, ids: list[str]
    ) -> np.ndarray:
        """Returns the scores of the rows' texts, float32 (turns, rows), nan where a text has none.

        `index`: the position in `texts` of each row's texts, int64 (turns, rows).
        """
        odds, scores = self._score(early_exit, texts)
        values = scores[index]
        toxic, missing = self._toxic(values), np.isnan(values)
        cleared = np.flatnonzero(missing.any(axis=0) & ~toxic)
        closest = np.where(missing, odds[index], -np.inf).max(axis=0, initial=-np.inf)[cleared]
        strata = audit.strata(closest, early_exit.edges)
        audited = audit.sampled([ids[row] for row in cleared.tolist()], strata, self._plan.audit_floor)
        in_audit = np.zeros(len(texts), dtype=bool)
        in_audit[index[:, cleared[audited]]] = True
        unscored = np.flatnonzero(np.isnan(scores) & in_audit)
        scores[unscored] = self._encoder([texts[number] for number in unscored.tolist()])
        values[:, cleared[audited]] = scores[index[:, cleared[audited]]]  # only audited rows: others may share a text
        counts = Audit.count(self._plan.audit_floor, int(toxic.sum()), strata, audited, self._toxic(values)[cleared])
        self.scored = Scored(len(texts), len(texts) - int(np.isnan(scores).sum()), counts)
        return np.asarray(values)

    def _score(self, early_exit: EarlyExit, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns log odds, float64, and scores, float32, of the texts, nan where there is none; from the cache where
        it has the text."""
        cached = [early_exit.cache.get(digest(text)) for text in texts]
        odds, scores = np.array([pair or (np.nan, np.nan) for pair in cached]).reshape(-1, 2).T
        scores = scores.astype(np.float32)
        new = [number for number, pair in enumerate(cached) if pair is None]
        scores[new], odds[new] = self._encoder.score([texts[number] for number in new], early_exit.head)
        return odds, scores


def _distinct(table: pa.Table) -> tuple[list[str], np.ndarray]:
    """Returns the table's distinct texts and the index of each row's texts, int64 (turns, rows): as many as the longest
    row has; a shorter one has its first in their place."""
    texts, starts = schema.turns(table)
    encoded = texts.dictionary_encode()
    number, lengths = np.asarray(encoded.indices, dtype=np.int64), np.diff(starts)
    slots = np.arange(lengths.max(initial=len(schema.FIRST)))[:, None]
    return encoded.dictionary.to_pylist(), number[starts[:-1] + np.where(slots < lengths, slots, 0)]
