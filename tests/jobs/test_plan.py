"""`jobs.plan` on the command line: tables, prices, the run's own rows and its measured speed."""

from __future__ import annotations

import io
import sys
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from jobs import plan
from pipeline import schema
from pipeline.config import ASSETS, Project
from pipeline.errors import ConfigError, MissingStageError
from pipeline.evaluate import recommend
from pipeline.plan import propose, resolve_auto
from pipeline.plan.propose import Measured
from pipeline.run import Run
from pipeline.train import estimate
from pipeline.train.data.pack import SUMMARY


def shown(project: Project | None = None, run: Run | None = None, **given: Any) -> str:
    said = io.StringIO()
    asked = {"cards": ["24"], "price": None, **given}
    measured = estimate.correction(run) if run else None
    propose.show(project, estimate.work_of(run, None, None), measured, console=Console(file=said, width=160), **asked)
    return said.getvalue()


@pytest.fixture
def curated(tmp_path: Any) -> Run:
    run = Run.open(str(tmp_path / "run"))
    row = {
        "id": "a",
        "source": "s",
        "source_id": "1",
        "kind": "qa",
        "prompt": "p" * 40,
        "response": "r" * 360,
        "later": [],
    }
    stage = run.begin("curate", "key")
    table = pa.Table.from_pylist([{**row, "origin": "real"}] * 3, schema=schema.RECORD)
    run.put(stage, "data/train/00000.parquet", table)
    run.commit(stage, {}, {})
    return run


def test_every_preset_is_planned_on_every_card() -> None:
    said = shown(cards=["16", "H200"], price=2.0)
    for text in ("RTX 4080", "H200", "Zephyr-7B", "NOT for commercial use", "50,000 rows of 220 tokens", "EUR"):
        assert text in said
    assert said.count("Qwen3-14B") == 2 + 2  # the table of models names it twice
    assert "EUR" not in shown()


def test_what_does_not_fit_says_so() -> None:
    project = Project.model_validate({"name": "p", "base_model": "Qwen/Qwen3-14B", "train": {"max_length": 40000}})
    assert "does not fit" in shown(project, cards=["16"])


def test_the_configurations_own_model_is_planned_with_its_settings() -> None:
    settings = {"pack_tokens": 2048, "recompute": 5, "max_length": 512, "lora": {"dora": True}}
    said = shown(Project.model_validate({"name": "p", "base_model": "tiny-base", "train": settings}))
    check, line = (line for line in said.splitlines() if "tiny-base" in line)
    assert "on this machine" in check
    assert "2,048" in line
    assert "5 of 6" in line
    assert "DoRA" in said


def test_a_local_models_licence_is_that_of_its_card(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_bytes((ASSETS / "tiny-base/config.json").read_bytes())
    project = Project.model_validate({"name": "p", "base_model": str(tmp_path)})
    assert "its card names no licence" in shown(project)
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    assert shown(project).count("NOT for commercial use") == 2
    (tmp_path / "config.json").write_text('{"model_type": "mixtral", "num_local_experts": 8}')
    with pytest.raises(ConfigError, match=f"{tmp_path} .mixtral. cannot be trained here: it is a mixture of experts"):
        shown(project)


def test_work_is_counted_where_it_can_be(curated: Run, tmp_path: Any) -> None:
    assert estimate.work_of(None, 10, 7).tokens == 70
    assert estimate.work_of(curated, None, None).tokens == 3 * (100 + estimate.FRAME)
    curated.write_json(SUMMARY, {"train": {"tokens": 345, "examples": 3}})
    assert estimate.work_of(curated, None, None).tokens == 345
    with pytest.raises(MissingStageError, match=r"jobs\.curate"):
        estimate.work_of(Run.open(str(tmp_path / "empty")), None, None)


def test_measured_speed_corrects_the_plan_of_its_card(curated: Run) -> None:
    assert estimate.correction(curated) is None
    curated.write_json(resolve_auto.PLAN, {"card": "RTX 4090", "tokens_per_second": 400.0})
    assert estimate.correction(curated) is None
    lines = "".join(f'{{"step": {n}, "loss": 1.0, "tokens": 100, "seconds": 0.5}}\n' for n in range(1, 6))
    curated.write_bytes("metrics/train.jsonl", lines.encode())
    assert estimate.correction(curated) == Measured("RTX 4090", 0.5, curated.uri)
    assert "0.50 x the plan" in shown(run=curated)
    assert "0.50 x the plan" not in shown(run=curated, cards=["H100"])


def test_a_candidate_given_by_hand_is_seen_from_the_working_folder(
    curated: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Project] = []
    (tmp_path / "config").mkdir()
    (tmp_path / "config/c.yaml").write_text("name: a\nbase_model: o/m\nrecommend: {candidates: [./mine]}\n")
    (tmp_path / "here/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(plan, "start_ray", lambda: None)
    monkeypatch.setattr(recommend, "recommend", lambda project, *_: asked.append(project))
    monkeypatch.setattr(recommend, "sentence", lambda _: "")
    for given in ([], ["--candidates", "mine", "o/other"]):
        monkeypatch.setattr(sys, "argv", ["plan", "../config/c.yaml", "--run", curated.uri, "--recommend", *given])
        plan.main()
    beside, here = str(tmp_path / "config/mine"), str(tmp_path / "here/mine")
    assert [project.recommend.candidates for project in asked] == [(beside,), (here, "o/other")]


def test_a_card_nobody_knows_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="no card 12"):
        shown(cards=["12"])
