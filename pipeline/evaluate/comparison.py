"""From what base and tuned model did on the same rows to the tables of `metrics/evaluate.json`.

Output contract: a `Measure` holds a metric's row statistics of base and tuned. `summary` gives the scores, their paired
bootstrap intervals, and the same for every label and language. Change is relative for perplexity and bits per byte,
where lower is better, and a plain difference for all others.
This module runs no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluate import text_metrics
from pipeline.evaluate.bootstrap import Score, Statistics, intervals
from pipeline.evaluate.perplexity import TokenScores, bits_per_byte, perplexity

GROUPS = 30  # labels that are told apart, the most frequent ones
NAMES = {
    "perplexity": "perplexity on answers",
    "bits_per_byte": "bits per byte",
    "rouge_l": "ROUGE-L",
    "bleu": "BLEU",
    "chrf": "chrF",
    "exact_match": "exact match",
    "bertscore": "BERTScore F1",
}
LOWER_IS_BETTER = ("perplexity", "bits_per_byte")


@dataclass(frozen=True)
class Measure:
    """A metric on the first `len(base)` held-out rows; both statistics are of the same rows, in the same order."""

    name: str
    base: Statistics
    tuned: Statistics
    score: Score

    def change(self, base: float, tuned: float) -> float:
        """Returns the change from base to tuned: relative where lower is better, else the difference."""
        if self.name in LOWER_IS_BETTER:
            return tuned / base - 1 if base else 0.0
        return tuned - base


def of_losses(base: Sequence[TokenScores], tuned: Sequence[TokenScores], answer_bytes: Sequence[int]) -> list[Measure]:
    """Returns perplexity and bits per byte."""

    def counts(rows: Sequence[TokenScores], units: Sequence[int]) -> Statistics:
        return np.array([[float(row.losses.sum()), float(unit)] for row, unit in zip(rows, units, strict=True)])

    tokens = [len(row.losses) for row in base]
    return [
        Measure("perplexity", counts(base, tokens), counts(tuned, tokens), lambda c: perplexity(c[0], int(c[1]))),
        Measure(
            "bits_per_byte",
            counts(base, answer_bytes),
            counts(tuned, answer_bytes),
            lambda c: bits_per_byte(c[0], int(c[1])),
        ),
    ]


def of_answers(
    references: Sequence[str], base: Sequence[str], tuned: Sequence[str], exact_match_words: int
) -> list[Measure]:
    """Returns ROUGE-L, BLEU, chrF and, where any reference is short enough for it, exact match."""

    def pair(counts: Callable[[Sequence[str], Sequence[str]], Statistics]) -> tuple[Statistics, Statistics]:
        return counts(references, base), counts(references, tuned)

    measures = [Measure("rouge_l", *pair(text_metrics.rouge_l_counts), text_metrics.ratio)]
    for name in ("bleu", "chrf"):
        corpus = text_metrics.Sacre(name)
        measures.append(Measure(name, *pair(corpus.counts), corpus.score))
    exact = pair(lambda a, b: text_metrics.exact_counts(a, b, exact_match_words))
    if exact[0][:, 1].any():
        measures.append(Measure("exact_match", *exact, text_metrics.ratio))
    return measures


def summary(measures: Sequence[Measure], rows: Sequence[dict[str, Any]], draws: int, seed: int) -> dict[str, Any]:
    """Returns `{base, tuned, intervals, groups}`; `rows` carry `label` and `lang`."""
    whole = _scores(measures, None)
    limits = {m.name: intervals(m.base, m.tuned, m.score, m.change, draws, seed) for m in measures}
    groups = {}
    for field in ("label", "lang"):
        values = [row[field] for row in rows]
        counts = {value: values.count(value) for value in sorted({v for v in values if v})}
        chosen = sorted(counts, key=lambda value: (-counts[value], value))[:GROUPS]
        if chosen:
            groups[field] = {v: _group(measures, np.array([x == v for x in values]), draws, seed) for v in chosen}
    return {**whole, "intervals": limits, "groups": groups}


def _scores(measures: Sequence[Measure], chosen: np.ndarray[Any, Any] | None) -> dict[str, dict[str, float]]:
    """Returns the scores of both on all rows, or where `chosen` is true; a metric that saw no row is left out."""
    scores: dict[str, dict[str, float]] = {"base": {}, "tuned": {}}
    for measure in measures:
        rows = slice(None) if chosen is None else chosen[: len(measure.base)]
        base, tuned = measure.base[rows], measure.tuned[rows]
        if len(base):
            scores["base"][measure.name] = measure.score(base.sum(0))
            scores["tuned"][measure.name] = measure.score(tuned.sum(0))
    return scores


def _group(measures: Sequence[Measure], chosen: np.ndarray[Any, Any], draws: int, seed: int) -> dict[str, Any]:
    change = {}
    for measure in measures:
        rows = chosen[: len(measure.base)]
        if rows.sum() > 1:
            part = (measure.base[rows], measure.tuned[rows], measure.score, measure.change)
            change[measure.name] = intervals(*part, draws, seed)["change"]
    return {"rows": int(chosen.sum()), **_scores(measures, chosen), "change": change}
