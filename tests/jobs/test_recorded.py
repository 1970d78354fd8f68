"""What a job is told before it writes: that there is no run, or that what it works on was made with other settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

import jobs
from jobs import recorded
from pipeline.config import Project
from pipeline.errors import ConfigError
from pipeline.run import Run

SETTINGS: dict[str, Any] = {"name": "a", "base_model": "/models/x", "train": {"epochs": 3}}


def project(**sections: Any) -> Project:
    return Project.model_validate({**SETTINGS, **sections})


def finish(run: Run, stage: str, **sections: Any) -> None:
    begun = run.begin(stage, "key")
    run.commit(begun, {}, {})
    recorded.keep(project(**sections), run, stage)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run folder that is curated and trained."""
    made = Run.open(str(tmp_path / "run"))
    for stage in ("curate", "train"):
        finish(made, stage)
    made.write_bytes("config.yaml", b"as it was")
    return made


@pytest.fixture
def start(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[jobs.Job]]:
    """Starts a job that does nothing, under a name and with settings; returns what it got."""

    def begin(verb: str, *arguments: str, stage: str = "curate", **sections: Any) -> list[jobs.Job]:
        config, started = tmp_path / "c.yaml", []

        def work(job: jobs.Job) -> None:
            started.append(job)

        config.write_text(yaml.safe_dump({**SETTINGS, **sections}))
        work.__name__ = verb
        monkeypatch.setattr(sys, "argv", [verb, str(config), "--run", run.uri, *arguments])
        options = {"--stop": {"action": "store_true"}}
        jobs.main(work, "", stage, needs_ray=False, preview=lambda job, _: work(job), options=options, alone="stop")
        return started

    return begin


@pytest.mark.parametrize("verb", ["synthesize", "train", "evaluate", "export", "serve", "report"])
def test_a_mistyped_run_folder_is_told_and_not_made(verb: str, tmp_path: Path) -> None:
    config, place = tmp_path / "c.yaml", tmp_path / "typo"
    config.write_text("name: a\nbase_model: o/m\n")
    command = [sys.executable, "-m", f"jobs.{verb}", str(config), "--run", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"{verb}: {place} is no run folder: `jobs.curate` makes one\n"
    assert not place.exists()


def test_a_job_without_work_writes_nothing(run: Run, start: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        start("serve", stage="export")
    assert "holds no finished `export`: run `jobs.export`" in capsys.readouterr().err
    assert run.read_bytes("config.yaml") == b"as it was"
    assert not run.exists("logs")


def test_other_settings_of_a_stage_that_a_job_works_on_are_refused(
    run: Run, start: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        start("evaluate", train={"epochs": 4})
    (line,) = capsys.readouterr().err.splitlines()
    assert "`train` in" in line
    assert "train.epochs was 3.0, is 4.0; run `jobs.train` again first, or set them back" in line
    assert run.read_bytes("config.yaml") == b"as it was"
    assert not run.exists("logs")
    assert start("evaluate", evaluate={"rows": 5}, serve={"port": 1}, train={"epochs": 3, "restarts": 9})
    assert yaml.safe_load(run.read_bytes("config.yaml"))["serve"]["port"] == 1


def test_other_settings_of_the_jobs_own_stage_are_told_and_it_goes_on(
    run: Run, start: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("train", train={"epochs": 4, "lora": {"r": 8}})
    assert capsys.readouterr().out.replace("\n", "") == (
        "`train` was made with other settings and is done again: train.epochs was 3.0, is 4.0, train.lora.r was 16, is "
        "8"
    )
    assert start("evaluate", train={"epochs": 4, "lora": {"r": 8}})
    assert start("train", train={"epochs": 4, "lora": {"r": 8}})
    assert capsys.readouterr().out == ""


def test_a_preview_is_checked_and_writes_nothing(run: Run, start: Any) -> None:
    before = sorted(run.local().rglob("*"))
    assert start("train", "--preview", train={"epochs": 4})
    with pytest.raises(SystemExit, match="2"):
        start("train", "--preview", seed=5)
    assert sorted(run.local().rglob("*")) == before
    assert run.read_bytes("config.yaml") == b"as it was"


def test_the_option_that_leaves_the_run_alone_needs_no_run(run: Run, start: Any) -> None:
    run.delete("stages")
    assert start("serve", "--stop", stage="export")
    assert run.read_bytes("config.yaml") == b"as it was"
    assert not run.exists("logs")


def test_what_only_names_things_and_a_run_that_was_moved_are_not_other_settings(run: Run) -> None:
    same = project(name="b", base_model="/elsewhere/x", curate={"licences": {"*": "MIT"}})
    assert recorded.check(same, run, "evaluate") is None
    assert recorded.check(same, run, "train") is None
    assert "name" in (recorded.check(same, run, "curate") or "")
    for other in (project(base_model="/models/y"), project(train={"epochs": 3, "general": {"path": "/texts"}})):
        with pytest.raises(ConfigError, match="`train`"):
            recorded.check(other, run, "evaluate")


def test_settings_of_another_version_and_stages_without_a_record_pass(run: Run) -> None:
    values = project().model_dump(mode="json")
    values["train"]["gone"] = 1
    del values["train"]["keep"]
    run.write_bytes("stages/train/config.yaml", yaml.safe_dump(values).encode())
    assert recorded.check(project(), run, "evaluate") is None
    run.delete("stages/train/config.yaml")
    assert recorded.check(project(train={"epochs": 9}), run, "evaluate") is None


def test_a_stage_that_is_begun_again_has_no_record(run: Run) -> None:
    run.begin("train", "other")
    assert not run.exists("stages/train/config.yaml")


def test_many_and_long_values_are_cut(run: Run) -> None:
    many = {"epochs": 1, "learning_rate": 1.0, "neftune_alpha": 1, "lora": {"targets": ["layer"] * 20}}
    line = recorded.check(project(train=many), run, "train") or ""
    assert line.endswith("and 1 more")
    assert "..." in line
    assert len(line) < 300


def test_every_setting_that_is_named_exists() -> None:
    for name in (*recorded.LABELS, *recorded.FREE, *(name for names in recorded.DEPENDS.values() for name in names)):
        attrgetter(name)(project())  # raises where there is none
