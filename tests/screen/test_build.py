"""Building the screens: order, and that importing them is light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline import screen
from pipeline.config import Curate, Toxicity
from pipeline.screen.entities import KnownEntities

ASSET = Path(__file__).parents[2] / "assets" / "toxicity-small"


def test_builds_the_three_stages_in_order() -> None:
    stages = screen.build(Curate(toxicity=Toxicity(model=str(ASSET))), KnownEntities())
    assert [type(stage).__name__ for stage in stages] == ["LanguageStage", "PiiStage", "ToxicityStage"]


def test_importing_the_modules_imports_no_model_library() -> None:
    code = (
        "import sys, pipeline.screen.language, pipeline.screen.pii, pipeline.screen.toxicity\n"
        "print(sorted({'torch', 'transformers', 'presidio_analyzer', 'spacy', 'fasttext'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
