"""Quality rules and the policy for short texts on real input: `SOLOTUNE_TEST_DATA=DIR make test-cluster`.

DIR holds support_qa, support_kb, wiki and banking77. What the defaults reject was looked at, row by row.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline import schema
from pipeline.config import Language, Quality, load
from pipeline.read import discover, read
from pipeline.screen.language import LanguageStage
from pipeline.screen.quality.rules import QualityStage

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("SOLOTUNE_TEST_DATA")
pytestmark = [pytest.mark.cluster, pytest.mark.skipif(DATA is None, reason="SOLOTUNE_TEST_DATA names no folder")]


@pytest.mark.parametrize(
    ("folder", "config", "rejected"),
    [
        ("support_qa", "csv", set()),
        ("wiki", "wiki", set()),
        (
            "support_kb",
            "knowledge-base",
            {("too_long", f"{lang}/help/{name}.md") for lang in ("de", "en") for name in ("TOC", "toc-backup")},
        ),
    ],
)
def test_quality_rejects_only_garbage(folder: str, config: str, rejected: set[tuple[str, str]]) -> None:
    settings = load(ROOT / "configs" / f"{config}.yaml").curate
    stage = QualityStage(Quality())
    files = discover([f"{DATA}/{folder}"], settings.read).files
    tables = [stage(table) for file in files for table in read(file, settings.read)]
    marked = pa.concat_tables(tables).filter(pc.field("stage") == "quality")
    assert {(row["reason"], row["path"]) for row in marked.to_pylist()} == rejected


def questions() -> list[str]:
    texts = []
    for name in ("train", "test"):
        with (Path(str(DATA)) / "banking77" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            texts += [row["text"] for row in csv.DictReader(file)]
    return texts


def test_short_english_questions_are_kept(make_working: Any) -> None:
    table = make_working([{"prompt": text} for text in questions()])
    lost = {}
    for short in ("judge", "keep"):
        marked = LanguageStage(Language(short=short), ("en", "de"))(table)  # type: ignore[arg-type]
        lost[short] = 1 - schema.unmarked(marked).mean()
    assert lost["judge"] > 0.01
    assert lost["keep"] < 0.002
