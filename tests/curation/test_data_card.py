"""The data card: complete, a valid Hugging Face card, the same bytes every time, no paths and no secrets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import __version__
from pipeline.config import Project
from pipeline.curation import data_card
from pipeline.formats import FORMATS


def front(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    return dict(yaml.safe_load(front))


def test_the_front_matter_is_that_of_a_dataset_card(metrics: dict[str, Any]) -> None:
    found = front(data_card.render("acme", metrics))
    assert found["language"] == ["en"]
    assert found["license"] == "CC-BY-4.0"
    assert found["size_categories"] == ["n<1K"]
    assert found["configs"][0]["data_files"] == [
        {"split": "train", "path": "train/*.parquet"},
        {"split": "golden", "path": "golden/*.parquet"},
    ]


def test_the_hub_reads_the_card(metrics: dict[str, Any]) -> None:
    from huggingface_hub import DatasetCard

    card = DatasetCard(data_card.render("acme: support & more", metrics))
    assert card.data.pretty_name == "acme: support & more"
    assert card.data.language == ["en"]
    assert card.text.lstrip().startswith("# acme: support & more")


def test_a_licence_nobody_stated_is_not_made_up(metrics: dict[str, Any]) -> None:
    metrics["provenance"]["licences"] = {"tickets": data_card.NOT_STATED, "wiki": data_card.NOT_STATED}
    card = data_card.render("acme", metrics)
    assert front(card)["license"] == "other"
    assert "| tickets | 21 | 20 | not stated |" in card


def test_the_card_tells_where_the_data_comes_from_and_what_became_of_it(metrics: dict[str, Any]) -> None:
    card = data_card.render("acme", metrics)
    for line in (
        "21 of 22 rows were kept",
        "| tickets\\|2.csv | tickets | 1,234 | `0123456789abcdef0123456789abcdef` |",
        "- 5 files are not read, XML: export CSV instead: a\\|1.xml, b.xml and 3 more.",
        "| language | not clearly in an expected language | 0.95 | 1 |",
        "| English | 21 |",
        "| person | 20 | 0 |",
        "| rows with any | 20 | 0 |",
        "778 characters read = 117 kept + 661 removed.",
        "| quoted mails | 668 | 8 |",
        "| tags, entities, comments | -7 | 1 |",
        "tickets.csv:8 | quoted mails 87 | 97 |",
        "recall 75.0 %",
        "| train | 20 |",
        "| dedup.threshold | 0.8 |",
        "| toxicity | my-model |",
        f"solotune {__version__} (formats: read {FORMATS['read']}, screen ",
    ):
        assert line in card
    tables = [block for block in card.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 8
    for table in tables:  # every line of a table has as many cells
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_conversations_are_counted_where_there_are_any(metrics: dict[str, Any]) -> None:
    told = "5 kept rows of several questions and answers, at most 7 of each: 15 answers to learn from."
    assert told in data_card.render("acme", {**metrics, "exchanges": {"1": 16, "2": 4, "7": 1}})
    for counts in ({"1": 21}, {}):
        assert "several questions" not in data_card.render("acme", {**metrics, "exchanges": counts})
    del metrics["exchanges"]  # of a run that an earlier version has made
    assert "several questions" not in data_card.render("acme", metrics)


def test_parts_that_were_not_measured_are_left_out(metrics: dict[str, Any]) -> None:
    for key in ("dedup", "toxicity", "leaks", "split"):
        del metrics[key]
    card = data_card.render("acme", metrics)
    assert not re.search(r"audit:|leak audit|audited|alike enough|toxicity model scored", card, re.IGNORECASE)


def test_the_card_follows_from_the_metrics_alone_and_from_json(metrics: dict[str, Any]) -> None:
    again = json.loads(json.dumps(metrics))
    assert data_card.render("acme", again) == data_card.render("acme", metrics)


def test_neither_paths_of_this_machine_nor_secrets_are_kept(metrics: dict[str, Any], tmp_path: Path) -> None:
    assert str(tmp_path) not in json.dumps(metrics)
    assert "/home/anna" not in json.dumps(metrics)
    found = data_card.flat({"pii": {"key": "s3cret", "salt": None}, "model": "/a/b/c", "n": {"deep": [1]}})
    assert found == {"pii.key": "set", "pii.salt": None, "model": "c", "n.deep": [1]}


def test_settings_of_other_jobs_are_not_on_the_card(project: Project) -> None:
    other = project.model_copy(update={"serve": project.serve.model_copy(update={"port": 7})})
    assert data_card.provenance(other, []) == data_card.provenance(project, [])


def test_a_models_content_is_its_version(project: Project, tmp_path: Path) -> None:
    before = data_card.provenance(project, [])["models"]["toxicity"]
    (tmp_path / "my-model" / "weights").write_bytes(b"other")
    after = data_card.provenance(project, [])["models"]["toxicity"]
    assert before["name"] == after["name"] == "my-model"
    assert before["version"] != after["version"]


@pytest.mark.parametrize(
    ("rows", "size"), [(999, "n<1K"), (1_000, "1K<n<10K"), (250_000, "100K<n<1M"), (3_000_000, "1M<n<10M")]
)
def test_size_categories(metrics: dict[str, Any], rows: int, size: str) -> None:
    metrics["sources"]["tickets"]["kept"], metrics["sources"]["wiki"]["kept"] = rows, 0
    assert front(data_card.render("acme", metrics))["size_categories"] == [size]
