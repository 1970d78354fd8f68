"""The figures in `recall.json` and in the model's card are what a measurement gives."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from bench.curation import pii
from pipeline.config import Pii, model_path
from pipeline.screen.pii import recall

pytestmark = pytest.mark.cluster
DATA = os.environ.get("SOLOTUNE_TEST_DATA")


@pytest.mark.skipif(not DATA, reason="SOLOTUNE_TEST_DATA names no folder")
def test_the_figures_of_the_report_are_what_a_measurement_gives() -> None:
    path = Path(str(DATA)) / "pii" / "synth_dataset_v2.json"
    stated = json.loads(recall.FILE.read_text(encoding="utf-8"))
    assert pii.recall(path, Pii(ner={})) == stated["patterns"]
    named = pii.recall(path, Pii(ner={"en": model_path(recall.BUNDLED)}))
    assert named["PERSON"] == stated[recall.BUNDLED]["PERSON"]


@pytest.mark.skipif(not DATA, reason="SOLOTUNE_TEST_DATA names no folder")
@pytest.mark.parametrize("lang", ["en", "de"])
def test_no_training_pattern_of_the_model_is_a_text_of_the_set(lang: str) -> None:
    """No six words in a row of a pattern, slots apart, are in a text of the set: it measures, it does not teach."""
    rows = json.loads((Path(str(DATA)) / "pii" / "synth_dataset_v2.json").read_text(encoding="utf-8"))
    known = {run for row in rows for run in runs(row["full_text"])}
    patterns = (Path(model_path(recall.BUNDLED)) / f"sentences_{lang}.txt").read_text(encoding="utf-8").splitlines()
    copied = []
    for pattern in patterns:
        parts = [part.split("|") for part in re.split(r"[\[\]]", re.sub(r"\{\w+\}|\\n", " § ", pattern))]
        for choice in range(max(map(len, parts))):
            text = "".join(part[choice % len(part)] for part in parts)
            copied += [pattern for run in runs(text) if run in known]
    assert copied == []


def runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"§|[\w']+", text.lower())
    return {run for at in range(len(words) - 5) if "§" not in (run := tuple(words[at : at + 6]))}
