"""From what base and tuned model did on the same rows to the tables of `metrics/evaluate.json`.

Output contract: a `Measure` holds a metric's row statistics of base and tuned. `summary` gives the scores, their paired
bootstrap intervals, and the same for every label and language. Change is relative for perplexity and bits per byte,
where lower is better, and a plain difference for all others. Where nothing was to be scored there is no score, and
where only one row was there is no interval: the name is left out.
This module runs no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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


Chosen = np.ndarray[Any, np.dtype[np.bool_]]
"""For each held-out row, whether it is looked at."""


@dataclass(frozen=True)
class Measure:
    """A metric on the first `len(base)` held-out rows; both statistics are of the same rows, in the same order."""

    name: str
    base: Statistics
    tuned: Statistics
    score: Score

    def on(self, chosen: Chosen | None) -> tuple[Statistics, Statistics]:
        """Returns the statistics of base and tuned on all rows, or where `chosen` is true."""
        rows = slice(None) if chosen is None else chosen[: len(self.base)]
        return self.base[rows], self.tuned[rows]

    def change(self, base: float, tuned: float) -> float:
        """Returns the change from base to tuned: relative where lower is better, else the difference."""
        if self.name in LOWER_IS_BETTER:
            return tuned / base - 1 if base else 0.0
        return tuned - base


def of_losses(
    base: Sequence[TokenScores],
    tuned: Sequence[TokenScores],
    answer_bytes: Sequence[int],
    starts: Sequence[int] | None = None,
) -> list[Measure]:
    """Returns perplexity and bits per byte from the scores of examples. `starts`: the first example of each row where
    rows may have several; else each is a row."""

    def counts(rows: Sequence[TokenScores], units: Sequence[int]) -> Statistics:
        each = np.array([[float(row.losses.sum()), float(unit)] for row, unit in zip(rows, units, strict=True)])
        return each if starts is None else np.add.reduceat(each, starts)

    tokens = [len(row.losses) for row in base]
    return [
        Measure(
            "perplexity", counts(base, tokens), counts(tuned, tokens), lambda c: perplexity(float(c[0]), int(c[1]))
        ),
        Measure(
            "bits_per_byte",
            counts(base, answer_bytes),
            counts(tuned, answer_bytes),
            lambda c: bits_per_byte(float(c[0]), int(c[1])),
        ),
    ]


def of_answers(
    references: Sequence[str],
    base: Sequence[str],
    tuned: Sequence[str],
    langs: Sequence[str | None],
    exact_match_words: int,
) -> list[Measure]:
    """Returns ROUGE-L, BLEU, chrF and exact match; `langs` are the references' ISO 639 codes."""

    def pair(counts: Callable[[Sequence[str], Sequence[str]], Statistics]) -> tuple[Statistics, Statistics]:
        return counts(references, base), counts(references, tuned)

    measures = [Measure("rouge_l", *pair(text_metrics.rouge_l_counts), text_metrics.ratio)]
    for name in ("bleu", "chrf"):
        corpus = text_metrics.Sacre(name)
        measures.append(Measure(name, *pair(partial(corpus.counts, langs=langs)), corpus.score))
    exact = pair(partial(text_metrics.exact_counts, most_words=exact_match_words))
    return [*measures, Measure("exact_match", *exact, text_metrics.ratio)]


def summary(measures: Sequence[Measure], rows: Sequence[dict[str, Any]], draws: int, seed: int) -> dict[str, Any]:
    """Returns `{base, tuned, intervals, groups}`; `rows` carry `label` and `lang`."""
    limits = _limits(measures, None, draws, seed)
    groups = {}
    for field in ("label", "lang"):
        values = [row[field] for row in rows]
        counts = {value: values.count(value) for value in sorted({v for v in values if v})}
        chosen = sorted(counts, key=lambda value: (-counts[value], value))[:GROUPS]
        if chosen:
            groups[field] = {v: _group(measures, np.array([x == v for x in values]), draws, seed) for v in chosen}
    return {**scores(measures), "intervals": limits, "groups": groups}


def scores(measures: Sequence[Measure], chosen: Chosen | None = None) -> dict[str, dict[str, float]]:
    """Returns `{base, tuned}` with the score of every metric on all rows, or where `chosen` is true."""
    found: dict[str, dict[str, float]] = {"base": {}, "tuned": {}}
    for measure in measures:
        base, tuned = (part.sum(0) for part in measure.on(chosen))
        if base[1]:
            found["base"][measure.name] = measure.score(base)
            found["tuned"][measure.name] = measure.score(tuned)
    return found


def _limits(
    measures: Sequence[Measure], chosen: Chosen | None, draws: int, seed: int
) -> dict[str, dict[str, list[float]]]:
    """Returns the intervals on all rows, or where `chosen` is true."""
    limits = {}
    for measure in measures:
        base, tuned = measure.on(chosen)
        if found := intervals(base, tuned, measure.score, measure.change, draws, seed):
            limits[measure.name] = found
    return limits


def _group(measures: Sequence[Measure], chosen: Chosen, draws: int, seed: int) -> dict[str, Any]:
    change = {name: limits["change"] for name, limits in _limits(measures, chosen, draws, seed).items()}
    return {"rows": int(chosen.sum()), **scores(measures, chosen), "change": change}
