"""The table: base against tuned, by set and way to train.

Output contract: Markdown. A figure is `base → tuned, change [low, high] ± seeds`. Base and tuned are scores of all
golden rows, of which each counts as often as there are seeds. `[low, high]`: 95 % interval of the change over golden
rows, whole rows with all their seeds drawn again (`pipeline.evaluate.bootstrap`). `± seeds`: half the 95 % interval of
the change over seeds (Student's t). Changes are relative, but for ROUGE-L.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.outcome.cells import WAYS
from pipeline.evaluate import bootstrap
from pipeline.evaluate.comparison import Measure
from pipeline.evaluate.perplexity import bits_per_byte, perplexity
from pipeline.evaluate.text_metrics import ratio

DRAWS = 1_000
SCORES: dict[str, bootstrap.Score] = {
    "perplexity": lambda counts: perplexity(float(counts[0]), int(counts[1])),
    "bits_per_byte": lambda counts: bits_per_byte(float(counts[0]), int(counts[1])),
    "rouge_l": ratio,
    "general": lambda counts: perplexity(float(counts[0]), int(counts[1])),
}
DIGITS = {"perplexity": 2, "bits_per_byte": 3, "rouge_l": 3, "general": 2}
TITLES = ("perplexity", "bits per byte", "ROUGE-L", "perplexity on general text")


def figures(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns, for every set and way, `{data, way, seeds, perplexity, …}`, each metric as `compare` gives it."""
    rows = []
    for data, base in found["base"].items():
        for way in WAYS:
            named = f"{data}/{way}/"
            tuned = [cell["counts"] for name, cell in found["cells"].items() if name.startswith(named)]
            if not tuned:
                continue
            metrics = {
                name: compare(name, base["counts"][name], [counts[name] for counts in tuned])
                for name in SCORES
                if name in base["counts"]
            }
            rows.append({"data": data, "way": way, "seeds": len(tuned), **metrics})
    return rows


def compare(name: str, base: Sequence[Any], tuned: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Returns `{base, tuned, change, rows, seeds}` of a metric, from its statistics of the base and of each seed:
    `rows` is the interval over golden rows, `seeds` half of that over seeds (None with one seed)."""
    whole, single = len(tuned) * np.array(base, float), [np.array(counts, float) for counts in tuned]
    measure = Measure("rouge_l" if name == "rouge_l" else "perplexity", whole, np.sum(single, 0), SCORES[name])
    scores = [measure.score(part.sum(0)) for part in (measure.base, measure.tuned)]
    limits = bootstrap.intervals(measure.base, measure.tuned, measure.score, measure.change, DRAWS, 0)
    changes = [measure.change(scores[0], measure.score(counts.sum(0))) for counts in single]
    return {
        "base": scores[0],
        "tuned": scores[1],
        "change": measure.change(*scores),
        "rows": limits and limits["change"],
        "seeds": _half_width(changes),
    }


def _half_width(values: Sequence[float]) -> float | None:
    """Returns half of the mean's 95 % interval; None for a single value."""
    from scipy import stats

    count = len(values)
    if count < 2:
        return None
    return float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))


def markdown(found: dict[str, Any]) -> str:
    """Returns the table of what was measured."""
    lines = [f"| set | training | {' | '.join(TITLES)} |", "|---" * (2 + len(TITLES)) + "|"]
    for row in figures(found):
        cells = [_cell(name, row.get(name)) for name in SCORES]
        training = f"{WAYS[row['way']].title}, {row['seeds']} seeds" if row["seeds"] > 1 else WAYS[row["way"]].title
        lines.append(f"| {row['data']} | {training} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(name: str, compared: dict[str, Any] | None) -> str:
    if compared is None:
        return "no questions"
    digits, relative = DIGITS[name], name != "rouge_l"
    unit, places = (100, 1) if relative else (1, digits)
    text = f"{compared['base']:.{digits}f} → {compared['tuned']:.{digits}f}, {compared['change'] * unit:+.{places}f}"
    text += " %" if relative else ""
    if compared["rows"]:
        text += " [{:+.{p}f}, {:+.{p}f}]".format(*(limit * unit for limit in compared["rows"]), p=places)
    if compared["seeds"] is not None:
        text += f" ± {compared['seeds'] * unit:.{places}f}"
    return text
