"""The toxicity stage, its early exit included, against stock `Detoxify.predict`; the judge is ALBERT-base-shaped.

Support text (questions with answers, banking queries, titles with descriptions) with 0.5 % and with 5 % toxic rows
mixed in: tweets that no training saw, as questions. One process, the same threads for both sides. Stock predicts a
sample of the rows, text by text and in lists of 32, and the faster one counts. What scoring everything would drop comes
from the model in full, once per teacher and rows, kept in `~/.cache/solotune-bench`; on the sample it is compared with
stock's own verdicts and scores. It is known of every toxic row, and of a random `--truth` of the support rows, whose
misses are scaled up; `recall_least` takes them at their upper confidence limit.
Output contract: `measure` needs SOLOTUNE_TEST_DATA; without it every key is None. `python -m bench.curation.toxicity
[--quick] [--truth N] [--rates R ...] [--trials N]` prints details; `--trials` replays N mixes of other rows from the
recorded scores, to see the recall and how often the audit's interval holds it. The teacher is trained at first use.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from bench.curation.teacher import corpus, teacher
from pipeline import schema
from pipeline.config import Toxicity
from pipeline.screen.toxicity import stage as toxicity
from pipeline.screen.toxicity.early_exit import DEPTHS, calibrate, digest
from pipeline.screen.toxicity.encoder import Encoder, ExitHead
from pipeline.screen.toxicity.score import Plan, ToxicityStage

CACHE = Path.home() / ".cache" / "solotune-bench"
RATES = {"": 0.05, "_half_pc": 0.005}
ROWS = {True: 3_200, False: 20_000}
TRUTH = 3_200  # support rows whose scores are all known
TIMED = {True: 32, False: 64}  # rows that stock is timed on
LIST = 32  # texts per call of stock

Row = tuple[str, str]  # prompt, response


def measure(quick: bool) -> dict[str, float | None]:
    """Returns `toxicity_x_stock` and `toxicity_recall` at 5 %, and both with `_half_pc` at 0.5 %."""
    place = os.environ.get("SOLOTUNE_TEST_DATA")
    if place is None:
        return {f"toxicity_{name}{suffix}": None for suffix in RATES for name in ("x_stock", "recall")}
    details = Bench(Path(place), quick).compare(list(RATES.values()))
    return {f"toxicity_{name}{suffix}": details[suffix][name] for suffix in RATES for name in ("x_stock", "recall")}


class Record:
    """The teacher's score of every text of the rows, and what exits would see of it; stands in for `Encoder`."""

    def __init__(self, texts: list[str], scores: np.ndarray, features: np.ndarray, encoder: Encoder) -> None:
        self._place = {text: number for number, text in enumerate(texts)}
        self._scores, self._features = scores, features
        self.depth, self._depths = encoder.depth, _depths(encoder)

    @classmethod
    def of(cls, encoder: Encoder, model: str, rows: Sequence[Row]) -> Record:
        """Reads the record of these rows and this model, or makes it."""
        texts = sorted({text for row in rows for text in row if text})
        key = hashlib.sha256((Path(model) / "SHA256").read_bytes() + "\0".join(texts).encode()).hexdigest()[:12]
        file = CACHE / f"scores-{key}.npz"
        if not file.is_file():
            scores, features = encoder.score_with_features(texts, _depths(encoder))
            CACHE.mkdir(parents=True, exist_ok=True)
            np.savez(CACHE / f".{file.name}", scores=scores, features=features)
            (CACHE / f".{file.name}").rename(file)
        with np.load(file) as found:
            return cls(texts, found["scores"], found["features"], encoder)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([self._scores[self._place[text]] if text.strip() else 0.0 for text in texts], np.float32)

    def features(self, texts: Sequence[str], depth: int) -> tuple[np.ndarray, np.ndarray]:
        return self.score_with_features(texts, [depth])[1][0], np.arange(len(texts))

    def score_with_features(self, texts: Sequence[str], depths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        at = [self._depths.index(depth) for depth in depths]
        return self(texts), self._features[at][:, [self._place[text] for text in texts]]

    def score(self, texts: Sequence[str], head: ExitHead) -> tuple[np.ndarray, np.ndarray]:
        scores, odds = self(texts), np.full(len(texts), np.nan)
        full = [number for number, text in enumerate(texts) if text.strip()]
        odds[full] = head.odds(self.features([texts[number] for number in full], head.depth)[0])
        return np.where(odds < head.cut, np.nan, scores).astype(np.float32), odds


def _depths(encoder: Encoder) -> list[int]:
    return sorted({int(share * encoder.depth) for share in DEPTHS})


class Bench:
    """The rows, the teacher, and its record of them."""

    def __init__(self, data: Path, quick: bool, truth: int = TRUTH) -> None:
        self._quick = quick
        self._settings = Toxicity(model=str(teacher(data, CACHE)))
        self._encoder = Encoder(self._settings.model)
        self._support, self._toxic = _rows(data, ROWS[quick])
        most = round(max(RATES.values()) * len(self._support))
        self._toxic = self._toxic[: 2 * most]
        self._known = self._support[:truth]  # they are in random order
        drawn = self._toxic[: 2 * round(max(RATES.values()) * len(self._known))]
        self._recorded = {*self._known, *drawn}
        self._record = Record.of(self._encoder, self._settings.model, [*self._known, *drawn])

    def compare(self, rates: Sequence[float]) -> dict[str, dict[str, Any]]:
        """Returns for each rate the speed over stock, the recall, and what the stage reports."""
        found: dict[str, dict[str, Any]] = {}
        for suffix, rate in RATES.items():
            if rate not in rates:
                continue
            rows = self._mix(rate, Random(1))
            stock = self._stock([row for row in rows if row in self._recorded][: TIMED[self._quick]])
            clock = Clock()
            marked, report = self._screened(_table(rows), self._encoder, digest)
            ours = clock.speeds(len(rows))
            x_stock, x_stock_cpu = (
                ours[unit] / max(stock[name][unit] for name in ("lists", "text_by_text")) for unit in ours
            )
            recall, least = self._recall(marked)
            figures = {"x_stock": x_stock, "x_stock_cpu": x_stock_cpu, "recall": recall, "recall_least": least}
            figures |= {"ours": ours}
            found[suffix] = {**figures, "rows": len(rows), "stock": stock, **report}
        return found

    def replay(self, trials: int) -> dict[str, dict[str, float]]:
        """Returns for each rate over `trials` mixes: recall, and how often the audit's interval holds it."""
        return {f"{rate:.1%}": self._trials(rate, trials) for rate in RATES.values()}

    def _trials(self, rate: float, trials: int) -> dict[str, float]:
        recalls, held, shares, given_up = [], [], [], 0
        for trial in range(trials):
            rng = Random(100 + trial)
            table = _table(self._mix(rate, rng, self._known), str(trial))  # other ids: another pool, another audit
            marked, report = self._screened(table, self._record, lambda text, salt=trial: digest(f"{salt} {text}"))
            given_up += report["screen"] is None
            recalls.append(self._recall(marked)[0])
            low, high = report["recall_interval"]
            held.append(low - 1e-4 <= recalls[-1] <= high + 1e-4)
            shares.append(report["scored"] / report["texts"])
        return {
            "given_up": given_up / trials,
            "recall_mean": float(np.mean(recalls)),
            "recall_least": min(recalls),
            "recall_reached": float(np.mean(np.array(recalls) >= self._settings.screen_recall)),
            "interval_holds": float(np.mean(held)),
            "texts_scored": float(np.mean(shares)),
        }

    def _mix(self, rate: float, rng: Random, support: list[Row] | None = None) -> list[Row]:
        """Returns support rows, all of them by default, with drawn toxic ones among them."""
        support = self._support if support is None else support
        toxic = self._toxic[: 2 * round(max(RATES.values()) * len(support))]
        rows = [*support, *rng.sample(toxic, round(rate * len(support)))]
        rng.shuffle(rows)
        return rows

    def _screened(
        self, table: pa.Table, encoder: Any, order: Callable[[str], bytes]
    ) -> tuple[pa.Table, dict[str, Any]]:
        """Returns the marked table as a run of these rows gives it, calibration and audit included, and its report."""
        settings, rows = self._settings, table.num_rows
        last = toxicity.pool_end(rows)
        pairs = zip(*(table[name].to_pylist() for name in ("id", *schema.FIRST)), strict=True)
        pool = {text for key, *texts in pairs if key < last for text in texts if text}
        screen = calibrate(sorted(pool, key=order), encoder, settings.threshold, settings.screen_recall)
        plan = Plan(screen, toxicity.audit_floor(rows, settings)) if screen else Plan()
        stage = ToxicityStage(settings, plan, encoder)
        return stage(table), toxicity.report(plan, stage.scored, settings)

    def _recall(self, marked: pa.Table) -> tuple[float, float]:
        """Returns the share of the rows dropped, of those that scoring every text would drop, and its lower limit."""
        from scipy.stats import chi2

        toxic, known = set(self._toxic), set(self._known)
        rows = list(zip(*(marked[name].to_pylist() for name in schema.FIRST), strict=True))
        dropped = np.array([reason == "toxicity" for reason in marked["reason"].to_pylist()])
        left = [row for row, gone in zip(rows, dropped, strict=True) if not gone]
        counts = {"toxic": self._toxic_among([row for row in left if row in toxic])}
        counts["known"] = self._toxic_among([row for row in left if row in known])
        support = sum(row not in toxic for row in rows)
        scale = support / sum(row in known for row in rows)
        found = float(dropped.sum())
        most = chi2.ppf(0.95, 2 * counts["known"] + 2) / 2 if scale > 1 else counts["known"]
        estimate, worst = (counts["toxic"] + scale * number for number in (counts["known"], most))
        return found / max(1.0, found + estimate), found / max(1.0, found + worst)

    def _toxic_among(self, rows: list[Row]) -> int:
        """Returns how many of the rows scoring every text would drop."""
        new = [row for row in rows if row not in self._recorded]
        counts = 0
        for some, judge in (([row for row in rows if row in self._recorded], self._record), (new, self._encoder)):
            scores = np.array([judge([row[side] for row in some]) for side in range(len(schema.FIRST))])
            counts += int((scores >= np.float32(self._settings.threshold)).any(axis=0).sum())
        return counts

    def _stock(self, rows: list[Row]) -> dict[str, Any]:
        """Returns how many rows a second stock does text by text and in lists, and on what share of the texts, and of
        as many toxic ones, it gives the teacher's recorded verdict."""
        import torch

        from pipeline.screen.toxicity.weights import load

        detoxify = load(self._settings.model, "cuda" if torch.cuda.is_available() else "cpu")
        texts = [text for row in rows for text in row if text]
        detoxify.predict(texts[0])
        found: dict[str, Any] = {}
        for name, size in (("lists", LIST), ("text_by_text", 1)):
            clock = Clock()
            scores = [detoxify.predict(texts[at : at + size])["toxicity"] for at in range(0, len(texts), size)]
            found[name] = clock.speeds(len(rows))
        abuse = [prompt for prompt, _ in self._toxic[: len(rows)]]  # recorded, as the first of them are
        scores += [detoxify.predict(text)["toxicity"] for text in abuse]  # after those of the last, text by text
        ours, threshold = self._record([*texts, *abuse]), self._settings.threshold
        found["verdicts_as_stock"] = float(np.mean((np.array(scores) >= threshold) == (ours >= threshold)))
        found["scores_off_by"] = float(np.abs(np.array(scores) - ours).max())
        return found


class Clock:
    """Time since it was made: by the wall, and of all threads of this process, which other processes disturb less."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def speeds(self, rows: int) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"rows_per_s": rows / wall, "rows_per_cpu_s": rows / cpu}


def _rows(data: Path, size: int) -> tuple[list[Row], list[Row]]:
    """Returns support rows, at most `size`, and toxic ones: tweets held out from every training, politely answered."""
    with (data / "support_qa" / "bitext_customer_support_v2.csv").open(encoding="utf-8", newline="") as file:
        answered = [(row["instruction"], row["response"]) for row in csv.DictReader(file) if "W" not in row["tags"]]
    train, held = corpus(data)
    support = answered + [(text, "") for text in train.banking + held.banking]
    for page in sorted((data / "support_kb").rglob("*.md")):
        front = dict(re.findall(r"^(title|description): *(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE))
        support.append((front.get("title", ""), front.get("description", "")))
    support = [row for row in dict.fromkeys(support) if row[0]]
    Random(3).shuffle(support)
    tweets = sorted(set(held.toxic))
    Random(4).shuffle(tweets)
    answers = Random(5).choices([answer for _, answer in answered], k=len(tweets))
    return support[:size], list(zip(tweets, answers, strict=True))


def _table(rows: list[Row], salt: str = "") -> pa.Table:
    empty: dict[str, Any] = {"source": "bench", "kind": "qa", "origin": "real", "path": "bench", "line": 1}
    full = [
        {
            "id": schema.content_id(f"qa{salt}", *row),
            "source_id": str(at),
            "prompt": row[0],
            "response": row[1],
            "later": [],
            **empty,
        }
        for at, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(full, schema=schema.WORKING)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--trials", type=int, default=0, help="replay so many mixes instead")
    parser.add_argument("--truth", type=int, default=TRUTH, help="support rows whose scores are all known")
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES.values()), help="of toxic rows")
    args = parser.parse_args()
    subject = Bench(Path(os.environ["SOLOTUNE_TEST_DATA"]), args.quick, args.truth)
    print(json.dumps(subject.replay(args.trials) if args.trials else subject.compare(args.rates), indent=2))
