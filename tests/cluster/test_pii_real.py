"""The scrubber on real inputs: what it finds is what a stock engine finds, and recall where the truth is known."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from pipeline.config import Pii
from pipeline.screen.pii.fold import fold
from pipeline.screen.pii.scrub import Scrubber, engine

pytestmark = pytest.mark.cluster
DATA = Path(os.environ.get("SOLOTUNE_TEST_DATA", "/nonexistent"))


def texts(name: str) -> list[str]:
    if not DATA.is_dir():
        pytest.skip("SOLOTUNE_TEST_DATA does not name the folder of real inputs")
    if name == "pii":
        return [row["full_text"] for row in json.loads((DATA / "pii" / "synth_dataset_v2.json").read_text("utf-8"))]
    if name == "support_qa":
        with (DATA / "support_qa" / "bitext_customer_support_v2.csv").open(encoding="utf-8", newline="") as file:
            return [row[key] for row in csv.DictReader(file) for key in ("instruction", "response")]
    return [path.read_text("utf-8") for path in sorted((DATA / "support_kb").rglob("*.md"))]


@pytest.mark.parametrize("name", ["pii", "support_qa", "support_kb"])
@pytest.mark.parametrize("language", ["en", "de"])
def test_findings_equal_the_stock_engine(name: str, language: str) -> None:
    given = [fold(text).text for text in texts(name)]
    found = Scrubber(Pii(ner={}), ("en", "de")).find_all(given, [language] * len(given))
    stock = engine(Pii(ner={}), language)
    for at, text in enumerate(given):
        results = stock.analyze(text, language, score_threshold=Pii(ner={}).score_threshold)
        expected = {(result.start, result.end, result.entity_type, result.score) for result in results}
        assert {finding[:4] for finding in found.get(at, [])} == expected, f"text {at} of {name}"


def test_recall() -> None:
    rows = json.loads((DATA / "pii" / "synth_dataset_v2.json").read_text("utf-8")) if texts("pii") else []
    scrubber = Scrubber(Pii(ner={}), ("en",))
    found = scrubber.find_all([row["full_text"] for row in rows], ["en"] * len(rows))
    least = {"EMAIL_ADDRESS": 0.99, "IBAN_CODE": 0.99, "CREDIT_CARD": 0.99, "IP_ADDRESS": 0.99, "PHONE_NUMBER": 0.80}
    covered: dict[str, list[bool]] = {kind: [] for kind in least}
    for at, row in enumerate(rows):
        for span in row["spans"]:
            if span["entity_type"] in least:
                start, end = span["start_position"], span["end_position"]
                covered[span["entity_type"]].append(any(f.start <= start and end <= f.end for f in found.get(at, [])))
    recall = {kind: sum(hits) / len(hits) for kind, hits in covered.items()}
    assert all(recall[kind] >= value for kind, value in least.items()), recall
