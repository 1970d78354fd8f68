"""The figures in `recall.json` and in the model's card are what a measurement gives."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.curation import pii
from pipeline.config import Pii, model_path
from pipeline.screen import recall

pytestmark = pytest.mark.cluster
DATA = os.environ.get("SOLOTUNE_TEST_DATA")


@pytest.mark.skipif(not DATA, reason="SOLOTUNE_TEST_DATA names no folder")
def test_the_figures_of_the_report_are_what_a_measurement_gives() -> None:
    path = Path(str(DATA)) / "pii" / "synth_dataset_v2.json"
    stated = json.loads(recall.FILE.read_text(encoding="utf-8"))
    assert pii.recall(path, Pii(ner={})) == stated["patterns"]
    named = pii.recall(path, Pii(ner={"en": model_path(recall.BUNDLED)}))
    assert named["PERSON"] == stated[recall.BUNDLED]["PERSON"]
