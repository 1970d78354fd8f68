"""Zendesk and Freshdesk exports: columns under all their names, and the customer's own words."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Read
from pipeline.read import discover

SAMPLE = Path(__file__).parents[2] / "assets" / "sample"


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_zendesk(tmp_path: Path, read_rows: Any) -> None:
    ticket = {
        "Summation column": "1",
        "Id": "20481",
        "Requester": "Anna Schmidt",
        "Requester email": "anna@example.org",
        "Submitter": "Anna Schmidt",
        "Assignee": "-",
        "Subject": "Lost card",
        "Status": "Solved",
        "Ticket type": "Question",
        "Created at": "2026-01-02 07:33",
        "Topic [list]": "Cards",
        "Description": "My card &amp; PIN are gone.<br>\n<br>\nWhat now?\n\n-- \nAnna Schmidt\nSales",
        "Latest public comment": "<p>Hello,</p><p>lock it in the app.</p>",
    }
    (row,) = read_rows(write(tmp_path / "z.csv", [ticket]))
    assert row["prompt"] == "Lost card\n\nMy card & PIN are gone.\n\nWhat now?"
    assert row["response"] == "Hello,\n\nlock it in the app."
    assert (row["source_id"], row["label"], row["resolved"]) == ("20481", "Cards", True)
    assert row["created_at"] == datetime(2026, 1, 2, 7, 33, tzinfo=UTC)
    assert row["entities"] == [{"type": "NAME", "text": "Anna Schmidt"}, {"type": "EMAIL", "text": "anna@example.org"}]


def test_freshdesk(tmp_path: Path, read_rows: Any) -> None:
    ticket = {
        "Ticket ID": "7",
        "Subject": "Hi",
        "Description": "hi there",
        "Status": "Open",
        "Type": "Cards",
        "Agent": "bob@example.org",
        "Created time": "not a date",
        "Agent interactions": "1",
        "Customer interactions": "1",
        "Agent response": "Yes.",
        "Full name": "Anna",
        "Work phone": "030 1234567",
    }
    (row,) = read_rows(write(tmp_path / "f.csv", [ticket]))
    assert (row["prompt"], row["response"], row["label"]) == ("hi there", "Yes.", "Cards")
    assert (row["resolved"], row["created_at"]) == (False, None)
    assert {(e["type"], e["text"]) for e in row["entities"]} == {
        ("NAME", "Anna"),
        ("EMAIL", "bob@example.org"),
        ("PHONE", "030 1234567"),
    }


@pytest.mark.parametrize(
    ("header", "product"),
    [
        ("ticket_id,requester_id,assignee_id,subject,description,latest_comment", "zendesk"),
        ("TICKET ID,TICKET SUBJECT,TICKET CREATED - TIMESTAMP,REQUESTER NAME,ASSIGNEE NAME,COMMENT,REPLY", "zendesk"),
        ("id,responder_id,fr_escalated,subject,description_text,requester_id,reply", "freshdesk"),
        ("Ticket Id,Subject,Description,Resolution Note,Due by Time,Time Tracked,Requester Name", "freshdesk"),
    ],
)
def test_variants_of_names(tmp_path: Path, header: str, product: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\n{','.join('x' * (header.count(',') + 1))}\n")
    (file,) = discover([str(tmp_path)], Read()).files
    assert file.layout == product


def test_the_bundled_sample_is_read_as_planned(read_rows: Any) -> None:
    """Every row of the sample comes out once, and for the reason its manifest states."""
    manifest = [json.loads(line) for line in (SAMPLE / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    early = {"unreadable", "empty_prompt", "empty_response"}
    planned = Counter((row["source"], row["reason"] if row["reason"] in early else None) for row in manifest)
    rows = read_rows(SAMPLE / "dump", most=250)
    found = Counter((row["source"], row["reason"]) for row in rows)
    pages = found.pop(("pages", None))
    assert found == planned
    expected = json.loads((SAMPLE / "EXPECTED.md").read_text(encoding="utf-8").split("```json")[1].split("```")[0])
    assert pages == expected["sources"]["pages"]["read"]
    parsed = {row["source_id"] for row in rows if row["reason"] is None}
    assert parsed >= {row["id"] for row in manifest if row["reason"] == "kept" and row["source"] != "pages"}
