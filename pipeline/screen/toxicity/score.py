"""Toxicity: Detoxify's score of prompt and response, of every row or of those that do not leave the model early.

Output contract: `ToxicityStage` judges prompt and response apart, so that a polite answer does not dilute an abusive
question, and marks `(toxicity, toxicity, score, threshold)` where the higher of the two reaches the threshold. A text
longer than the model is scored in overlapping windows, and the highest counts. Scores have 3 decimals. With a screen,
texts that its head clears after the first layers get no score, except in the rows that the audit draws; what it counted
is in `judged`.
This module does not train and keeps no scores but those of the rows it marks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import Toxicity
from pipeline.screen.toxicity import audit
from pipeline.screen.toxicity.audit import Audit
from pipeline.screen.toxicity.early_exit import Screen, digest
from pipeline.screen.toxicity.encoder import Encoder

TEXTS = ("prompt", "response")


@dataclass(frozen=True)
class Plan:
    """How a pass judges: every text in full (`screen` None), or as a screen tells, with an audit of what it clears."""

    screen: Screen | None = None
    floor: float = 1.0  # probability with which a row that the screen lets pass is audited, at least


@dataclass(frozen=True)
class Judged:
    """What became of one table: distinct texts in it, how many have a score, and the audit's counts."""

    texts: int
    scored: int
    audit: Audit

    def __add__(self, other: Judged) -> Judged:
        return Judged(self.texts + other.texts, self.scored + other.scored, self.audit + other.audit)


class ToxicityStage:
    """Marks toxic rows; one instance per actor, on the GPU when there is one."""

    def __init__(self, settings: Toxicity, plan: Plan | None = None, encoder: Encoder | None = None) -> None:
        self._threshold = np.float32(settings.threshold)
        self._plan = plan or Plan()
        self._encoder = encoder or Encoder(settings.model)
        self.judged = Judged(0, 0, Audit.nobody(self._plan.floor))  # of the last table

    def __call__(self, table: pa.Table) -> pa.Table:
        live = table.filter(pa.array(schema.unmarked(table)))
        texts, at = _distinct(live)
        if self._plan.screen is None:
            values = self._encoder(texts)[at]
            found = int((values >= self._threshold).any(axis=0).sum())
            self.judged = Judged(len(texts), len(texts), replace(Audit.nobody(self._plan.floor), found=found))
        else:
            values = self._screened(self._plan.screen, texts, at, live["id"].to_pylist())
        scores = np.full(table.num_rows, np.nan, dtype=np.float32)
        least = values.max(axis=0)  # nan where one of the two has no score, and so the row has none
        scores[schema.unmarked(table)] = np.where((values >= self._threshold).any(axis=0), np.fmax(*values), least)
        table = schema.replaced(table, "toxicity", pa.array(scores, mask=np.isnan(scores)))
        return schema.mark(table, scores >= self._threshold, "toxicity", "toxicity", scores, float(self._threshold))

    def _screened(self, screen: Screen, texts: list[str], at: np.ndarray, ids: list[str]) -> np.ndarray:
        """Returns the scores of the rows' texts (2, rows), nan where not scored. `at`: which of `texts` they are."""
        odds, scores = self._judged(screen, texts)
        values = scores[at]
        dropped = (values >= self._threshold).any(axis=0)
        left = np.isnan(values)
        passed = np.flatnonzero(left.any(axis=0) & ~dropped)
        closest = np.where(left, odds[at], -np.inf).max(axis=0, initial=-np.inf)[passed]
        strata = audit.strata(closest, screen.edges)
        audited = audit.drawn([ids[row] for row in passed.tolist()], strata, self._plan.floor)
        chosen = np.zeros(len(texts), dtype=bool)
        chosen[at[:, passed[audited]]] = True
        again = np.flatnonzero(np.isnan(scores) & chosen)
        scores[again] = self._encoder([texts[number] for number in again.tolist()])
        values[:, passed[audited]] = scores[at[:, passed[audited]]]  # not in other rows with the same text: no audit
        missed = (values >= self._threshold).any(axis=0)[passed]
        counted = Audit.of(self._plan.floor, int(dropped.sum()), strata, audited, missed)
        self.judged = Judged(len(texts), len(texts) - int(np.isnan(scores).sum()), counted)
        return np.asarray(values)

    def _judged(self, screen: Screen, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns log odds and scores of texts, nan where there is none: what the screen knows is not asked again."""
        known = [screen.known.get(digest(text)) for text in texts]
        odds, scores = np.array([pair or (np.nan, np.nan) for pair in known]).reshape(-1, 2).T
        scores = scores.astype(np.float32)
        new = [number for number, pair in enumerate(known) if pair is None]
        scores[new], odds[new] = self._encoder.judge([texts[number] for number in new], screen.exit)
        return odds, scores


def _distinct(table: pa.Table) -> tuple[list[str], np.ndarray]:
    """Returns the table's distinct texts, null as empty, and where each row's prompt and response are (2, rows)."""
    place: dict[str, int] = {}
    at = [[place.setdefault(text or "", len(place)) for text in table[name].to_pylist()] for name in TEXTS]
    return list(place), np.array(at, dtype=np.int64).reshape(len(TEXTS), -1)
