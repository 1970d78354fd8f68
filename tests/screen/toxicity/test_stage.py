"""The toxicity pass: what it draws, that its counts and bytes do not depend on the blocks, what it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pipeline import schema
from pipeline.config import Toxicity
from pipeline.progress import Meter
from pipeline.run import Run
from pipeline.screen.toxicity import stage as toxicity
from pipeline.screen.toxicity.audit import STRATA, Audit
from pipeline.screen.toxicity.early_exit import EarlyExit
from pipeline.screen.toxicity.encoder import ExitHead
from pipeline.screen.toxicity.score import Plan, Scored

ABUSE = "You are a stupid idiot and a disgusting piece of trash, shut up!"
CALM = "My card was declined twice yesterday, could you please have a look?"
SETTINGS = Toxicity()


def early_exit(cut: float) -> EarlyExit:
    return EarlyExit(
        ExitHead(1, np.zeros(3 * 128, dtype=np.float32), 0.0, cut), np.full(STRATA - 1, -np.inf), 0.02, 30, 30
    )


@pytest.fixture
def run(tmp_path: Path, make_working: Any) -> tuple[Run, list[str]]:
    """A run with 90 unmarked rows in three parts, every fourth of them abusive, and one marked row in each part."""
    run, parts = Run.open(str(tmp_path)), []
    for part in range(3):
        rows = [{"prompt": f"{ABUSE if n % 4 == 0 else CALM} {part}-{n}", "response": CALM} for n in range(31)]
        table = make_working(rows)
        table = schema.mark(table, np.arange(31) == 30, "language", "language").sort_by("id")
        parts.append(f"stages/screen/0000{part}-00000.parquet")
        run.write_table(parts[-1], table)
    return run, parts


def test_the_pool_is_drawn_by_id_and_ordered_by_digest(
    run: tuple[Run, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = toxicity.pool(*run, 90)
    assert len(whole) == 91  # distinct prompts and the one response
    assert toxicity.pool(run[0], run[1][::-1], 90) == whole
    monkeypatch.setattr(toxicity, "POOL", 30)
    drawn = toxicity.pool(*run, 90)
    assert 10 < len(drawn) < 60
    assert drawn == [text for text in whole if text in set(drawn)]


@pytest.mark.parametrize("settings", [SETTINGS, Toxicity(model="original"), Toxicity(model="original", screen=False)])
def test_every_text_is_scored_for_few_rows_a_small_model_and_the_screen_off(
    run: tuple[Run, list[str]], settings: Toxicity
) -> None:
    assert toxicity.make_plan(*run, settings) == Plan()


@pytest.mark.ray
def test_a_model_that_pays_gets_an_early_exit_which_is_the_same_again(
    ray_session: None, run: tuple[Run, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toxicity, "early_exit_pays", lambda model: True)
    monkeypatch.setattr(toxicity, "SMALL_RUN", 1)
    plan = toxicity.make_plan(*run, SETTINGS)
    assert plan.early_exit is not None
    assert plan.early_exit.toxic == 24
    assert plan.audit_floor == 1.0  # 200 rows at least, of 90
    bytes_ = run[0].read_bytes(toxicity.EARLY_EXIT)
    toxicity.make_plan(*run, SETTINGS)
    assert run[0].read_bytes(toxicity.EARLY_EXIT) == bytes_
    scored = toxicity.score_parts(*run, SETTINGS, plan, lambda part: None)
    assert scored.scored == scored.texts  # so few that fitting took them all
    assert scored.audit.detected == 24


@pytest.mark.ray
def test_counts_and_bytes_are_those_of_the_rows_whatever_the_blocks(
    ray_session: None, run: tuple[Run, list[str]], ray_blocks: Callable[[int], None]
) -> None:
    results = []
    run[0].write_bytes(toxicity.EARLY_EXIT, early_exit(100.0).to_bytes())
    for blocks in (2, 3):
        ray_blocks(blocks)
        done: list[Any] = []
        scored = toxicity.score_parts(*run, SETTINGS, Plan(early_exit(100.0), 0.5), done.append)
        files = [run[0].read_bytes(part["path"]) for part in sorted(done, key=lambda part: part["path"])]
        results.append((scored, files))
    assert results[0] == results[1]
    counts = results[0][0].audit
    assert counts.detected == 0
    assert sum(counts.cleared) == 90
    assert 0 < sum(counts.missed) < 24
    every = toxicity.score_parts(*run, SETTINGS, Plan(), lambda part: None)
    assert every.audit.detected == 24
    assert every.scored == every.texts


def audited(missed: int) -> Scored:
    counts = [(0,) * 9 + (n,) + (0,) * (STRATA - 10) for n in (10_000, 1_000, missed)]
    return Scored(20_000, 3_000, Audit(0.1, 900, *counts))


def test_an_early_exit_is_given_up_only_when_its_audit_rules_the_target_out() -> None:
    plan = Plan(early_exit(0.0), 0.1)
    assert toxicity.reaches_recall(plan, audited(0), SETTINGS)
    assert toxicity.reaches_recall(plan, audited(1), SETTINGS)  # 10 of 910 are estimated, but one find is weak evidence
    assert not toxicity.reaches_recall(plan, audited(20), SETTINGS)
    assert toxicity.reaches_recall(Plan(), audited(20), SETTINGS)
    assert toxicity.reaches_recall(plan, replace(audited(0), audit=Audit.empty(0.1)), SETTINGS)


def test_the_report_says_what_was_scored_and_how_sure_the_recall_is() -> None:
    report = toxicity.report(Plan(early_exit(0.5), 0.1), audited(1), SETTINGS)
    assert (report["texts"], report["scored"], report["dropped"], report["audited"]) == (20_000, 3_000, 901, 1_000)
    assert report["recall"] == pytest.approx(0.9901, abs=1e-4)
    assert report["recall_interval"][0] < report["recall"] < report["recall_interval"][1]
    assert report["screen"] == {
        "layers": 1,
        "cut": 0.5,
        "target": 0.99,
        "calibration": {"scored": 0, "positives": 30, "toxic": 30},
        "audit_floor": 0.1,
    }
    given_up = toxicity.report(Plan(), audited(0), SETTINGS, audited(20).audit)
    assert given_up["screen"] is None
    assert given_up["refuted_screen"]["audit_found"] == 20


@pytest.mark.parametrize(
    ("missed", "passes"), [(0, ["toxicity"]), (20, ["toxicity", "toxicity: every row"])], ids=["holds", "refuted"]
)
def test_every_row_is_scored_once_more_where_the_audit_refutes_the_early_exit(
    run: tuple[Run, list[str]], monkeypatch: pytest.MonkeyPatch, missed: int, passes: list[str]
) -> None:
    titles, plans = [], []

    def meter(title: str) -> Meter:
        titles.append(title)
        return Meter(Console(quiet=True), title, 90)

    def score_parts(run: Run, parts: list[str], settings: Toxicity, plan: Plan, done: Any) -> Scored:
        plans.append(plan)
        done({"path": parts[0], "rows": 31})
        return audited(missed)

    fitted = Plan(early_exit(0.5), 0.1)
    monkeypatch.setattr(toxicity, "make_plan", lambda *_: fitted)
    monkeypatch.setattr(toxicity, "score_parts", score_parts)
    stage = run[0].begin("toxicity", "key")
    report = toxicity.run_toxicity(run[0], stage, run[1], SETTINGS, meter)
    assert titles == passes
    assert plans == [fitted, Plan()][: len(passes)]
    assert list(stage.outputs) == run[1][:1]
    assert ("refuted_screen" in report) == (report["screen"] is None) == (len(passes) == 2)
