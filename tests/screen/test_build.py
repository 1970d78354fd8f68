"""Building the screens: order, and that importing them is light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from pipeline import screen
from pipeline.config import Curate, Quality
from pipeline.screen.pii.entities import KnownEntities


def test_builds_the_stages_of_the_first_pass_in_order() -> None:
    stages = screen.build(Curate(), KnownEntities())
    assert [type(stage).__name__ for stage in stages] == ["QualityStage", "LanguageStage", "PiiStage"]


def test_shared_answers_are_judged_where_they_were_counted() -> None:
    shared = pa.table({"key": pa.array([], pa.binary(8)), "tickets": pa.array([], pa.int64())})
    curate = Curate(quality=Quality(shared_answer=50))
    names = [type(stage).__name__ for stage in screen.build(curate, KnownEntities(), shared=shared)]
    assert names == ["QualityStage", "SharedAnswerStage", "LanguageStage", "PiiStage"]


def test_importing_the_modules_imports_no_model_library() -> None:
    code = (
        "import sys, pipeline.screen.language, pipeline.screen.quality.rules, "
        "pipeline.screen.pii.scrub, pipeline.screen.toxicity.score\n"
        "print(sorted({'torch', 'transformers', 'presidio_analyzer', 'spacy', 'fasttext'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
