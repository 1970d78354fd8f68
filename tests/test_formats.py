"""A stage's number is raised when what it writes changes, and nothing else redoes what is finished."""

from __future__ import annotations

import builtins
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pipeline.curation.golden_rows
import pipeline.run
from pipeline.curation import curate
from pipeline.evaluate import evaluate
from pipeline.export import gguf, merge
from pipeline.formats import FORMATS
from pipeline.run import Run
from pipeline.synthesis import synthesize
from pipeline.train import qlora
from tests import format_runs as runs
from tests.format_inputs import project
from tests.formats import BEFORE, FIXTURE, differences, problem

Make = dict[str, Any]
JOBS = {  # job -> its stages
    "curate": ("read", "screen", "toxicity", "dedup", "curate"),
    "synthesize": ("synthesize",),
    "train": ("pack", "train"),
    "evaluate": ("evaluate",),
    "export": ("export",),
    "gguf": ("gguf",),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


@pytest.fixture(scope="module")
def now(place: Path) -> Make:
    """Returns what the fixture would be, by this code."""
    return runs.written(place)


@pytest.fixture(scope="module")
def fixture() -> Make:
    return dict(json.loads(FIXTURE.read_text()))


@pytest.mark.parametrize("stage", FORMATS)
def test_a_stage_writes_what_its_number_stands_for(stage: str, fixture: Make, now: Make) -> None:
    said = problem(stage, fixture, now)
    assert said is None, said


# -- the comparison itself --------------------------------------------------------------------------------------------


def state(**changes: Any) -> Make:
    """Returns a fixture in which the named stages have the given number and rows, the others 1 and 7."""
    return {stage: {"format": changes.get(stage, (1, 7))[0], "writes": {"rows": changes.get(stage, (1, 7))[1]}}
            for stage in FORMATS}  # fmt: skip


@pytest.mark.parametrize("stage", FORMATS)
def test_a_change_under_the_old_number_is_told_of_the_first_stage_that_made_it(stage: str) -> None:
    later = {name: (1, 8) for name in FORMATS if stage in ancestors(name)}
    now = state(**{stage: (1, 8)}, **later)
    said = problem(stage, state(), now)
    assert said is not None
    assert f"raise FORMATS['{stage}']" in said
    assert "(rows)" in said
    assert [name for name in FORMATS if problem(name, state(), now)] == [stage]


def ancestors(stage: str) -> list[str]:
    """Returns the stages whose keys are in a stage's key."""
    return [BEFORE[stage], *ancestors(BEFORE[stage])] if stage in BEFORE else []


def test_a_raised_number_wants_a_new_fixture_of_its_stage_alone() -> None:
    now = state(pack=(2, 8), train=(1, 8))
    assert [name for name in FORMATS if problem(name, state(), now)] == ["pack"]
    said = problem("pack", state(), now)
    assert said is not None
    assert said.startswith("FORMATS['pack'] is 2, the fixture is of 1: write it anew")
    assert "raise" not in said
    assert problem("pack", now, now) is None


def test_floats_have_a_tolerance_and_nothing_else_has() -> None:
    old = {"loss": [2.0, 0.0], "rows": 3, "columns": {"id": "ab"}}
    assert differences(old, {"loss": [2.015, 0.001], "rows": 3, "columns": {"id": "ab"}}) == []
    new = {"loss": [2.1, 0.0], "rows": 4, "columns": {"id": "ac", "x": 1}}
    assert differences(old, new) == ["columns.id", "columns.x", "loss", "rows"]


# -- keys -------------------------------------------------------------------------------------------------------------


class BegunError(Exception):
    """A stage is being done again; raised in its place."""


def call(job: str, place: Path) -> None:
    """Runs a job on the folder in which its stages are finished."""
    with runs.without_ray():
        if job == "curate":
            curate.curate(project(), Run(str(place / "curation")), [str(place / "dump")], runs.QUIET)
        elif job == "train":
            qlora.train(runs.learning_project(place), Run(str(place / "learnt")), runs.QUIET)
        else:
            work: dict[str, Callable[..., Any]] = {
                "synthesize": synthesize.synthesize,
                "evaluate": evaluate.evaluate,
                "export": merge.export,
                "gguf": gguf.export,
            }
            work[job](runs.measuring_project(place), Run(str(place / "measured")), runs.QUIET)


@pytest.fixture
def watched(now: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no stage begin."""

    def begin(run: Run, stage: str, key: str) -> None:
        raise BegunError(stage)

    monkeypatch.setattr(Run, "begin", begin)
    monkeypatch.setattr(
        pipeline.curation.golden_rows, "freeze", lambda run: None
    )  # the folder is not this test's alone


@pytest.mark.parametrize("job", JOBS)
def test_another_release_leaves_what_is_finished_and_reads_no_source(
    job: str, place: Path, watched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.run, "__version__", "99")
    monkeypatch.setattr(pipeline, "__version__", "99")
    opened: list[str] = []
    real = io.open

    def noting(file: Any, *arguments: Any, **options: Any) -> Any:
        opened.append(str(file))
        return real(file, *arguments, **options)

    monkeypatch.setattr(io, "open", noting)
    monkeypatch.setattr(builtins, "open", noting)
    assert FIXTURE.read_text()
    call(job, place)
    package = str(Path(pipeline.__file__).parent)
    assert str(FIXTURE) in opened
    assert not [path for path in opened if path.startswith(package) and path.endswith(".py")]


@pytest.mark.parametrize(("job", "stage"), [(job, stage) for job, stages in JOBS.items() for stage in stages])
def test_a_raised_number_redoes_its_stage_and_those_after_it(
    job: str, stage: str, place: Path, watched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, stage, FORMATS[stage] + 1)
    first = "read" if stage == "screen" else stage  # its parts are gone once all is finished
    with pytest.raises(BegunError, match=f"^{first}$"):
        call(job, place)
