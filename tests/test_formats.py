"""A stage is redone when its number is raised, and so are those after it; a release alone redoes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

import pipeline
import pipeline.run
from pipeline import schema
from pipeline.config import Project
from pipeline.curation import curate
from pipeline.formats import FORMATS
from pipeline.run import Run

ASSETS = Path(__file__).parent.parent / "assets"
CURATION = ("read", "screen", "toxicity", "dedup", "curate")


def keys() -> dict[str, str]:
    """Returns the keys of the stages of curation."""
    settings = {"toxicity": {"model": str(ASSETS / "toxicity-small")}}
    project = Project.model_validate({"name": "t", "base_model": "o/m", "curate": settings})
    nothing = curate.Earlier(schema.RECORD.empty_table(), [])
    return curate.keys(curate.Curation(project, Run("/nowhere"), [], nothing, None, Console()))


@pytest.mark.parametrize("stage", CURATION)
def test_a_raised_number_is_another_key_of_its_stage_and_of_those_after_it(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys()
    monkeypatch.setitem(FORMATS, stage, FORMATS[stage] + 1)
    changed = [name for name, key in keys().items() if key != before[name]]
    assert changed == list(CURATION[CURATION.index(stage) :])


def test_another_release_has_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys()
    monkeypatch.setattr(pipeline, "__version__", "99")
    monkeypatch.setattr(pipeline.run, "__version__", "99")
    assert keys() == before
