"""`auto` becomes numbers for the card that is there, and stays what it was when the run goes on elsewhere."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.errors import ConfigError
from pipeline.models.load import Base
from pipeline.plan import cards, from_settings, resolve_auto
from pipeline.plan.presets import PRESETS
from pipeline.run import Run
from pipeline.train import launch
from pipeline.train.loop.event_log import EventLog

ZEPHYR = next(preset for preset in PRESETS if preset.name == "Zephyr-7B")
PACKED = {"tokens": 1000, "packed_rows": 10, "examples": 50}


@pytest.fixture
def mistral(tmp_path: Path) -> Path:
    place = tmp_path / "mistral"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(ZEPHYR.config))
    return place


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(str(tmp_path / "run"))


def settled(project: Any, run: Run, card: cards.Card | None, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(resolve_auto, "find_card", lambda _: card)
    said = io.StringIO()
    found, chosen = resolve_auto.resolve_auto(project, Base.of(project), run, Console(file=said, width=200))
    run.write_json(resolve_auto.PLAN, resolve_auto.facts(project, found, chosen, PACKED))
    return found.train, said.getvalue()


def test_auto_is_the_planners_choice(
    mistral: Path, run: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(base=mistral, train={"max_length": 2048, "pack_tokens": "auto", "lora": {}})
    card = cards.card("24")
    train, _ = settled(project, run, card, monkeypatch)
    best = from_settings.best(project.train, ZEPHYR.shape, card)
    assert best is not None
    assert (train.pack_tokens, train.recompute, train.compute) == (best.pack_tokens, best.recompute, "auto")
    written = run.read_json(resolve_auto.PLAN)
    assert written["tokens"] == 2000
    assert (written["compute"], written["graph"]) == ("fp8", best.graph)
    assert "products in FP8" in resolve_auto.sentence(written)
    assert written["hours"] == pytest.approx(2000 / best.tokens_per_second / 3600, abs=1e-4)
    assert "RTX 4090" in resolve_auto.sentence(written)


def test_a_run_that_moves_to_another_card_keeps_its_packed_rows(
    mistral: Path, run: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(base=mistral, train={"max_length": 2048, "pack_tokens": "auto", "lora": {}})
    first, _ = settled(project, run, cards.card("H200"), monkeypatch)
    moved, _ = settled(project, run, cards.card("24"), monkeypatch)
    assert (first.pack_tokens, first.recompute) == (16384, 0)
    assert moved.pack_tokens == 16384
    assert moved.recompute > 0
    small, _ = settled(project, run, cards.card("16"), monkeypatch)
    assert small.pack_tokens <= 16384
    other = project.model_copy(update={"train": project.train.model_copy(update={"learning_rate": 1e-5})})
    fresh, _ = settled(other, run, cards.card("24"), monkeypatch)
    assert fresh.pack_tokens < 16384


def test_numbers_stay_and_a_warning_says_when_they_may_not_fit(
    mistral: Path, run: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(base=mistral, train={"pack_tokens": 16384, "recompute": False})
    train, said = settled(project, run, cards.card("24"), monkeypatch)
    assert (train.pack_tokens, train.recompute) == (16384, 0)
    assert "may not fit" in said
    project = make_project(base=mistral, train={"pack_tokens": 4096, "recompute": True})
    train, said = settled(project, run, cards.card("24"), monkeypatch)
    assert (train.pack_tokens, train.recompute, said) == (4096, 32, "")


def test_what_cannot_be_planned_is_a_sentence(
    mistral: Path, run: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = {"max_length": 2048, "pack_tokens": "auto"}
    with pytest.raises(ConfigError, match="does not fit this RTX 4090"):
        settled(make_project(base=mistral, train=auto), run, replace(cards.card("24"), gib=4.0), monkeypatch)
    (mistral / "config.json").write_text('{"model_type": "mamba"}')
    for card in (cards.card("24"), None):
        with pytest.raises(ConfigError, match=r"mamba\) cannot be trained here: it carries a state"):
            settled(make_project(base=mistral, train=auto), run, card, monkeypatch)


def test_a_cpu_gets_small_rows_and_recomputes_nothing(
    tiny: Path, run: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, _ = settled(make_project(train={"pack_tokens": "auto"}), run, None, monkeypatch)
    assert (train.pack_tokens, train.recompute) == (1024, 0)
    assert "no prediction" in resolve_auto.sentence(run.read_json(resolve_auto.PLAN))
    train, _ = settled(make_project(train={"max_length": 1500, "pack_tokens": "auto"}), run, None, monkeypatch)
    assert train.pack_tokens == 1500
    train, _ = settled(make_project(train={"pack_tokens": 300, "recompute": True}), run, None, monkeypatch)
    assert (train.pack_tokens, train.recompute) == (300, "all")


def test_a_batch_in_tokens_or_examples_becomes_packed_rows(make_project: Any) -> None:
    for given, rows in (({}, 2), ({"batch_tokens": 420}, 4), ({"batch_examples": 16}, 3), ({"batch_tokens": 1}, 1)):
        project = make_project(train=given)
        assert resolve_auto.resolve_batch(project, PACKED).train.rows_per_step == rows


def test_planned_stands_beside_actual(
    mistral: Path, run: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(make_project(base=mistral), run, cards.card("24"), monkeypatch)
    planned = run.read_json(resolve_auto.PLAN)
    speed = planned["tokens_per_second"]
    found = resolve_auto.against(planned, {"tokens_per_second": speed / 2, "seconds": 1800, "peak_memory_gib": 9.0})
    assert found["actual"]["mfu"] == pytest.approx(planned["mfu"] / 2, abs=1e-4)
    assert (found["actual"]["hours"], found["actual"]["peak_memory_gib"]) == (0.5, 9.0)
    assert found["planned"]["tokens_per_second"] == speed
    settled(make_project(), run, None, monkeypatch)
    found = resolve_auto.against(
        run.read_json(resolve_auto.PLAN), {"tokens_per_second": 1.0, "seconds": 1, "peak_memory_gib": 1.0}
    )
    assert found["planned"] == dict.fromkeys(found["planned"])
    assert found["actual"]["mfu"] is None


def test_the_progress_line_says_what_share_of_the_peak(
    mistral: Path, run: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(make_project(base=mistral), run, cards.card("24"), monkeypatch)
    planned = run.read_json(resolve_auto.PLAN)
    event_log = EventLog(run.local(launch.LINES))
    event_log.begin("key")
    event_log.write({"step": 1, "loss": 2.0, "tokens": planned["tokens_per_second"], "seconds": 2.0})
    said = io.StringIO()
    for line in event_log.read():
        launch.teller(5, planned, Console(file=said, width=200))(line)
    assert f"{planned['tokens_per_second'] / 2:,.0f} tokens/s, {planned['mfu'] / 2:.0%} of the peak" in said.getvalue()
    assert "0:00:08 left" in said.getvalue()


def test_the_measured_rate_leaves_the_first_steps_out() -> None:
    lines = [{"step": n, "loss": 1.0, "tokens": 100, "seconds": 9.0 if n <= 3 else 0.5} for n in range(1, 6)]
    assert resolve_auto.measured(lines[:3]) is None
    assert resolve_auto.measured([*lines, {"step": 5, "eval_loss": 1.0}]) == 200.0
