"""The toxicity pass over a run: an early exit fitted to the run's own rows, every part scored, the recall audited.

Output contract: `make_plan` writes the early exit to `stages/toxicity/screen.npz` and returns the plan that every actor
works by. `score_parts` writes a part of the same name for each. `report` is the toxicity part of `metrics/curate.json`.
`run_toxicity` does all three, and scores every text in full where the audit rules out that the early exit reaches its
recall. Every text is scored in full as well when the run is small, the model is small, `screen` is off, or the early
exit would clear too few texts. Results depend on the rows and the settings alone: row ids draw the pool and the audit.
This module decides what is scored where; `score`, `early_exit` and `audit` do it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pipeline import batch, schema
from pipeline.config import Toxicity
from pipeline.progress import Meter
from pipeline.run import Run, Stage
from pipeline.screen.toxicity.audit import Audit
from pipeline.screen.toxicity.early_exit import EarlyExit, calibrate, digest
from pipeline.screen.toxicity.encoder import Encoder, early_exit_pays
from pipeline.screen.toxicity.score import Plan, Scored, ToxicityStage

EARLY_EXIT = "stages/toxicity/screen.npz"
POOL = 20_000  # rows that an early exit is fitted to
MIN_AUDITED = 200  # rows
SMALL_RUN = 3_000  # rows that are scored in full: too few toxic ones to fit an early exit to, and soon done
ID_RANGE = 1 << 32  # of the first 8 hex digits of an id


def run_toxicity(
    run: Run, stage: Stage, parts: Sequence[str], settings: Toxicity, meter: Callable[[str], Meter]
) -> dict[str, Any]:
    """Scores `parts` into outputs of the stage `toxicity` and returns the report. Ray must be up.

    `meter`: makes the progress meter of a pass over the rows from its title.
    """

    def score(plan: Plan, title: str) -> Scored:
        with meter(title) as progress:

            def done(part: batch.Summary) -> None:
                run.add(stage, [part["path"]])
                progress.advance(part["rows"])

            return score_parts(run, parts, settings, plan, done)

    plan, refuted = make_plan(run, parts, settings), None
    scored = score(plan, "toxicity")
    if not reaches_recall(plan, scored, settings):
        plan, refuted = Plan(), scored.audit
        scored = score(plan, "toxicity: every row")
    return report(plan, scored, settings, refuted)


def make_plan(run: Run, parts: Sequence[str], settings: Toxicity) -> Plan:
    """Returns the plan for the unmarked rows of `parts`, with an early exit fitted to a sample of them. Ray must be up.

    Raises `MissingModelError` where a model is not there.
    """
    rows = sum(run.read_table(part, columns=["stage"])["stage"].null_count for part in parts)
    if not settings.screen or rows <= SMALL_RUN or not early_exit_pays(settings.model):
        return Plan()

    def work() -> Iterator[batch.Summary]:
        encoder = Encoder(settings.model)
        early_exit = calibrate(pool(run, parts, rows), encoder, settings.threshold, settings.screen_recall)
        if early_exit is not None:
            run.write_bytes(EARLY_EXIT, early_exit.to_bytes())
        yield {"pays": early_exit is not None}

    if not [summary["pays"] for summary in batch.stream(work)][-1]:
        return Plan()
    return Plan(EarlyExit.from_bytes(run.read_bytes(EARLY_EXIT)), audit_floor(rows, settings))


def pool(run: Run, parts: Sequence[str], rows: int) -> list[str]:
    """Returns the distinct texts of about `POOL` of `rows` unmarked rows, in the order of their digests."""
    texts: set[str] = set()
    for part in parts:
        table = run.read_table(part, columns=["stage", *schema.FIRST, "later"], filters=[("id", "<", pool_end(rows))])
        table = table.filter(pa.array(schema.unmarked(table)))
        texts.update(text for text in schema.turns(table)[0].unique().to_pylist() if text.strip())
    return sorted(texts, key=digest)


def pool_end(rows: int) -> str:
    """Returns the exclusive upper end of the ids in the pool of `rows` rows."""
    return "g" if rows <= POOL else f"{ID_RANGE * POOL // rows:08x}"


def audit_floor(rows: int, settings: Toxicity) -> float:
    """Returns the least probability that one of `rows` rows is audited."""
    return min(1.0, max(settings.audit, MIN_AUDITED / rows))


def score_parts(
    run: Run, parts: Sequence[str], settings: Toxicity, plan: Plan, done: Callable[[batch.Summary], None]
) -> Scored:
    """Scores parts into `stages/toxicity` and returns the counts; calls `done` with `{path, rows}` of each part.

    One part at a time per GPU, or per core where there is none. The plan's early exit is read from the run.
    """
    total = Scored(0, 0, Audit.empty(plan.audit_floor))
    floor, early = plan.audit_floor, plan.early_exit is not None  # the early exit itself is read where it is used

    def start() -> batch.Work:
        early_exit = EarlyExit.from_bytes(run.read_bytes(EARLY_EXIT)) if early else None
        stage = ToxicityStage(settings, Plan(early_exit, floor))

        def work(number: int) -> Iterator[batch.Summary]:
            table = schema.forget(stage(run.read_table(parts[number])))
            path = f"stages/toxicity/{parts[number].rsplit('/', 1)[1]}"
            run.write_table(path, table)
            yield {"path": path, "rows": table.num_rows, "counts": json.dumps(asdict(stage.scored))}

        return work

    for summary in batch.spread(start, len(parts), on_gpu=True):
        counts = json.loads(summary.pop("counts"))
        done(summary)
        total += Scored(counts["texts"], counts["scored"], Audit(**counts["audit"]))
    return total


def reaches_recall(plan: Plan, scored: Scored, settings: Toxicity) -> bool:
    """Whether the audit leaves it possible that the early exit reaches the recall asked for."""
    recall = scored.audit.recall()
    return plan.early_exit is None or recall is None or recall[2] >= settings.screen_recall


def report(plan: Plan, scored: Scored, settings: Toxicity, refuted: Audit | None = None) -> dict[str, Any]:
    """Returns the toxicity part of `metrics/curate.json`. `refuted`: the audit that an early exit was given up for."""
    figures: dict[str, Any] = {"texts": scored.texts, "scored": scored.scored, **scored.audit.report(), "screen": None}
    if plan.early_exit is not None:
        early = plan.early_exit
        figures["screen"] = {
            "layers": early.head.depth,
            "cut": early.head.cut,
            "target": settings.screen_recall,
            "calibration": {"scored": early.scored, "positives": early.positives, "toxic": early.toxic},
            "audit_floor": round(plan.audit_floor, 6),
        }
    if refuted is not None:
        figures["refuted_screen"] = refuted.report()
    return figures
