"""The toxicity pass over a run: a screen fitted on its own rows, every part judged through it, the recall audited.

Output contract: `plan` leaves a screen in `stages/toxicity/screen.npz` where it saves enough, and returns the plan that
every actor works by; `judge` writes a part of the same name for each; `report` is what `metrics/curate.json` says.
`moderate` is all three, and judges every text where the audit rules out that the screen reaches its recall.
A run of few rows, a small model, a screen switched off and one that clears too little mean every text in full.
All of it depends on the rows and the settings alone: pool, screen and audit are drawn by row ids.
This module decides what is scored where; how is in `toxicity`, `early_exit` and `audit`.
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
from pipeline.screen.toxicity.early_exit import Screen, calibrate, digest
from pipeline.screen.toxicity.encoder import Encoder, pays
from pipeline.screen.toxicity.score import TEXTS, Judged, Plan, ToxicityStage

SCREEN = "stages/toxicity/screen.npz"
POOL = 20_000  # rows that a screen is fitted on: their odds count, and those it scores, most of them toxic, had to be
LEAST_AUDITED = 200  # rows
FEW = 3_000  # rows that are scored in full: too few toxic ones to fit a screen on, and soon done
ID_RANGE = 1 << 32  # of the first 8 hex digits of an id


def moderate(
    run: Run,
    stage: Stage,
    parts: Sequence[str],
    settings: Toxicity,
    meter: Callable[[str], Meter],
) -> dict[str, Any]:
    """Judges `parts` into outputs of the stage `toxicity`; returns the report. `meter` makes one of a title for each
    pass over the rows. Ray must be up."""

    def judged_as(how: Plan, title: str) -> Judged:
        with meter(title) as progress:

            def done(part: batch.Summary) -> None:
                run.add(stage, [part["path"]])
                progress.advance(part["rows"])

            return judge(run, parts, settings, how, done)

    how, refuted = plan(run, parts, settings), None
    judged = judged_as(how, "toxicity")
    if not holds(how, judged, settings):
        how, refuted = Plan(), judged.audit
        judged = judged_as(how, "toxicity: every row")
    return report(how, judged, settings, refuted)


def plan(run: Run, parts: Sequence[str], settings: Toxicity) -> Plan:
    """Returns how to judge the unmarked rows of `parts`, having fitted a screen on a sample of them. Ray must be up.

    Raises `MissingModelError` where a model is not there.
    """
    rows = sum(run.read_table(part, columns=["stage"])["stage"].null_count for part in parts)
    if not settings.screen or rows <= FEW or not pays(settings.model):
        return Plan()

    def work() -> Iterator[batch.Summary]:
        encoder = Encoder(settings.model)
        screen = calibrate(pool(run, parts, rows), encoder, settings.threshold, settings.screen_recall)
        if screen is not None:
            run.write_bytes(SCREEN, screen.to_bytes())
        yield {"screen": screen is not None}

    if not [found["screen"] for found in batch.stream(work)][-1]:
        return Plan()
    return Plan(Screen.from_bytes(run.read_bytes(SCREEN)), floor(rows, settings))


def pool(run: Run, parts: Sequence[str], rows: int) -> list[str]:
    """Returns the distinct texts of about `POOL` of `rows` unmarked rows, in the order of their digests."""
    texts: set[str] = set()
    for part in parts:
        table = run.read_table(part, columns=["stage", *TEXTS], filters=[("id", "<", last_id(rows))])
        table = table.filter(pa.array(schema.unmarked(table)))
        texts.update(text for name in TEXTS for text in table[name].to_pylist() if text and text.strip())
    return sorted(texts, key=digest)


def last_id(rows: int) -> str:
    """Returns what the ids of the pool lie below, of that many rows."""
    return "g" if rows <= POOL else f"{ID_RANGE * POOL // rows:08x}"


def floor(rows: int, settings: Toxicity) -> float:
    """Returns the least probability with which one of that many rows is audited."""
    return min(1.0, max(settings.audit, LEAST_AUDITED / rows))


def judge(
    run: Run,
    parts: Sequence[str],
    settings: Toxicity,
    how: Plan,
    done: Callable[[batch.Summary], None],
) -> Judged:
    """Judges parts into `stages/toxicity` and returns the counts; calls `done` with `{path, rows}` of each part.

    A part at a time per GPU, or per core where there is none. The screen of `how` is what `plan` left in the run.
    """
    total = Judged(0, 0, Audit.nobody(how.floor))
    for summary, judged in _judge_parts(run, parts, settings, how):
        done(summary)
        total += judged
    return total


def _judge_parts(
    run: Run, parts: Sequence[str], settings: Toxicity, how: Plan
) -> Iterator[tuple[batch.Summary, Judged]]:
    floor, screened = how.floor, how.screen is not None  # the screen itself is read where it is used

    def start() -> batch.Work:
        screen = Screen.from_bytes(run.read_bytes(SCREEN)) if screened else None
        stage = ToxicityStage(settings, Plan(screen, floor))

        def work(number: int) -> Iterator[batch.Summary]:
            table = schema.forget(stage(run.read_table(parts[number])))
            path = f"stages/toxicity/{parts[number].rsplit('/', 1)[1]}"
            run.write_table(path, table)
            yield {"path": path, "rows": table.num_rows, "judged": json.dumps(asdict(stage.judged))}

        return work

    for summary in batch.spread(start, len(parts), on_gpu=True):
        judged = json.loads(summary.pop("judged"))
        yield summary, Judged(judged["texts"], judged["scored"], Audit(**judged["audit"]))


def holds(how: Plan, judged: Judged, settings: Toxicity) -> bool:
    """Whether the audit leaves it possible that the screen reaches the recall asked for."""
    recall = judged.audit.recall()
    return how.screen is None or recall is None or recall[2] >= settings.screen_recall


def report(how: Plan, judged: Judged, settings: Toxicity, refuted: Audit | None = None) -> dict[str, Any]:
    """Returns the toxicity part of `metrics/curate.json`. `refuted`: the audit of a screen given up for it."""
    found: dict[str, Any] = {"texts": judged.texts, "scored": judged.scored, **judged.audit.report()}
    found["screen"] = None
    if how.screen is not None:
        screen = how.screen
        found["screen"] = {
            "layers": screen.exit.depth,
            "cut": screen.exit.cut,
            "target": settings.screen_recall,
            "calibration": {"scored": screen.scored, "positives": screen.positives, "toxic": screen.toxic},
            "audit_floor": round(how.floor, 6),
        }
    if refuted is not None:
        found["refuted_screen"] = refuted.report()
    return found
