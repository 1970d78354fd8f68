"""The toxicity stage, its screen included, against `Detoxify.predict` text by text; the judge is ALBERT-base-shaped.

Support questions and answers with 0.5 % and with 5 % toxic rows (held-out tweets as questions) mixed in, one process,
the same threads for both sides. Stock is timed on a sample of the texts and extrapolated by their length; what stock
would drop is taken from the stage without a screen, whose verdicts are compared with stock's on that sample.
Output contract: `measure` needs SOLOTUNE_TEST_DATA; without it every key is None. The judge is trained at first use
into `~/.cache/solotune-bench`. `python -m bench.curation.toxicity [--quick]` prints details, on a GPU if there is one.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from bench.curation.teacher import corpus, teacher
from pipeline import schema
from pipeline.config import Toxicity

CACHE = Path.home() / ".cache" / "solotune-bench"
RATES = {"": 0.005, "_5pc": 0.05}
ROWS = {True: 1_000, False: 4_514}
TIMED = {True: 24, False: 80}  # texts that stock is timed on


def measure(quick: bool) -> dict[str, float | None]:
    """Returns `toxicity_x_stock` and `toxicity_recall` at 0.5 %, and both with `_5pc`."""
    place = os.environ.get("SOLOTUNE_TEST_DATA")
    if place is None:
        return {f"toxicity_{name}{suffix}": None for suffix in RATES for name in ("x_stock", "recall")}
    details = compare(Path(place), quick)
    return {f"toxicity_{name}{suffix}": details[suffix][name] for suffix in RATES for name in ("x_stock", "recall")}


def compare(data: Path, quick: bool) -> dict[str, dict[str, Any]]:
    """Returns for each rate the speed over stock, the recall, the share of texts scored and the audit's report."""
    from pipeline.screen.toxicity import Plan, ToxicityStage

    settings = Toxicity(model=str(teacher(data, CACHE, quick)))
    base, toxic = _rows(data, ROWS[quick])
    every = ToxicityStage(settings, Plan())
    truth = {row["id"]: row["reason"] for row in every(_table(base + toxic)).select(["id", "reason"]).to_pylist()}
    found: dict[str, dict[str, Any]] = {}
    for suffix, rate in RATES.items():
        rows = base + Random(1).sample(toxic, round(rate * len(base)))
        Random(2).shuffle(rows)
        table = _table(rows)
        stock, agree = _stock(settings, [text for pair in rows for text in pair], TIMED[quick])
        start = time.perf_counter()
        marked, report = _screened(settings, table)
        ours = time.perf_counter() - start
        should = {key for key in table["id"].to_pylist() if truth[key] == "toxicity"}
        dropped = {row["id"] for row in marked.to_pylist() if row["reason"] == "toxicity"}
        recall = len(should & dropped) / max(1, len(should))
        counts = {"rows": table.num_rows, "toxic": len(should), "verdicts_as_stock": agree}
        found[suffix] = {"x_stock": stock / ours, "recall": recall, **counts, **report}
    return found


def _rows(data: Path, size: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Returns (question, answer) pairs: support text, and tweets held out from every training with polite answers."""
    with (data / "support_qa" / "bitext_customer_support_v2.csv").open(encoding="utf-8", newline="") as file:
        support = [(row["instruction"], row["response"]) for row in csv.DictReader(file) if "W" not in row["tags"]]
    tweets = corpus(data)[1].toxic
    Random(3).shuffle(support)
    support = support[:size]
    answers = Random(4).choices([answer for _, answer in support], k=len(tweets))
    abuse = sorted(set(tweets))[: max(20, size // 15)]
    return support, list(zip(abuse, answers[: len(abuse)], strict=True))


def _table(rows: list[tuple[str, str]]) -> pa.Table:
    empty: dict[str, Any] = {"source": "bench", "kind": "qa", "origin": "real", "path": "bench", "line": 1}
    full = [
        {"id": schema.content_id("qa", *pair), "source_id": str(at), "prompt": pair[0], "response": pair[1], **empty}
        for at, pair in enumerate(rows)
    ]
    return pa.Table.from_pylist(full, schema=schema.WORKING)


def _screened(settings: Toxicity, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
    """Returns the marked table as a run of these rows gives it, calibration and audit included, and its report."""
    from pipeline.screen import moderate
    from pipeline.screen.distil import digest, distil
    from pipeline.screen.toxicity import TEXTS, Hint, Plan, Scorer, ToxicityStage

    texts = sorted({text for name in TEXTS for text in table[name].to_pylist()}, key=digest)
    judge = Scorer(settings.model, settings.batch_tokens)
    screen = distil(texts, judge, Hint(settings)(texts), settings.threshold, settings.screen_recall, whole=True)
    plan = Plan(screen, max(settings.audit, moderate.LEAST_AUDITED / table.num_rows)) if screen else Plan()
    stage = ToxicityStage(settings, plan)
    marked = stage(table)
    return marked, moderate.report(plan, stage.judged, settings)


def _stock(settings: Toxicity, texts: list[str], timed: int) -> tuple[float, float]:
    """Returns the seconds that `Detoxify.predict` would take text by text, and on how many of the timed texts it and
    the stage give one verdict (a share)."""
    import torch

    from pipeline.screen.toxicity import Scorer
    from pipeline.screen.weights import load

    detoxify = load(settings.model, "cuda" if torch.cuda.is_available() else "cpu")
    chosen = sorted(Random(5).sample(texts, timed), key=len)
    detoxify.predict(chosen[0])
    seconds, scores = [], []
    for text in chosen:
        start = time.perf_counter()
        scores.append(detoxify.predict(text)["toxicity"])
        seconds.append(time.perf_counter() - start)
    slope, level = np.polyfit([len(text) for text in chosen], seconds, 1)
    ours = Scorer(settings.model, settings.batch_tokens)(chosen)
    agree = np.mean((np.array(scores) >= settings.threshold) == (ours >= settings.threshold))
    return float(sum(level + slope * len(text) for text in texts)), float(agree)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(compare(Path(os.environ["SOLOTUNE_TEST_DATA"]), parser.parse_args().quick), indent=2))
