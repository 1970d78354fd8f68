"""The leak audit: what a stricter pass finds in kept rows, counted by type, ids and never text."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.config import Pii
from pipeline.screen.pii.entities import KnownEntities
from pipeline.screen.pii.leak_audit import ROWS_LISTED, audit, sample

KNOWN = KnownEntities.of(["Anna Schmidt", "Mark von Lang"])


def rows(texts: list[str]) -> pa.Table:
    full = [
        {
            "id": f"{number:032x}",
            "source": "s",
            "source_id": "1",
            "kind": "qa",
            "prompt": text,
            "response": "",
            "later": [],
            "lang": "de",
            "origin": "real",
        }
        for number, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(full, schema=schema.RECORD)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Vorgang 113542617735902", "DIGITS"),
        ("Ruf 040 / 66 96 91 an", "DIGITS"),
        ("write to jane (at) example (dot) com", "ADDRESS_LIKE"),
        ("jane@nowhere.invalidtld", "ADDRESS_LIKE"),
        ("jane at example dot com", "ADDRESS_LIKE"),
        ("DE89 3704 0044 0532 0130 01", "IBAN_LIKE"),
        ("Sehr geehrter Herr Meier", "NAME_AFTER_TITLE"),
        ("I spoke to Mrs. O'Brien", "NAME_AFTER_TITLE"),
        ("Hallo Petra", "NAME_AFTER_GREETING"),
        ("Mit freundlichen Grüßen\n\nPetra", "NAME_AFTER_CLOSING"),
        ("Best regards,\nPetra", "NAME_AFTER_CLOSING"),
        ("das sagte mir Schmidt", "KNOWN_NAME"),
        ("server 203.0.113.7 down", "IP_ADDRESS"),
        ("KD-123456", "CUSTOMER_ID"),
    ],
)
def test_the_second_pass_finds_what_the_first_may_leave(text: str, kind: str) -> None:
    settings = Pii(patterns={"CUSTOMER_ID": (r"KD-\d+",)})
    found = audit([rows([text])], settings, ("de", "en"), KNOWN)
    assert kind in found["types"]
    assert found["types"][kind]["rows_per_1000"] == 1000
    assert found["rows_with_findings"] == found["rows"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "Herr <PERSON>, Ihre IBAN <IBAN_CODE> und <PHONE_NUMBER>",
        "Dear <PERSON_abcdefghij>, call <PHONE_NUMBER:abcdefghijklmnopabcdefghijklmnop>\nBest regards\n<PERSON>",
        "Hallo Support Team, die Zeit war lang. Viele Grüße\nIhr Team",
        "Am 12.05.2026 um 10:30 waren es 1.234,56 EUR. Mark the box, von mir.",
    ],
)
def test_placeholders_teams_and_everyday_words_are_no_leaks(text: str) -> None:
    found = audit([rows([text])], Pii(), ("de", "en"), KNOWN)
    assert found == {"rows": 1, "rows_with_findings": 0, "types": {}}


def test_counts_rows_and_ids_but_no_text() -> None:
    texts = ["jane@example.com and joe@example.com"] * 30 + ["nothing"] * 70
    found = audit([rows(texts)], Pii(audit_rows=50), ("de",), KnownEntities())
    assert (found["rows"], found["rows_with_findings"]) == (50, 30)
    mail = found["types"]["EMAIL_ADDRESS"]
    assert (mail["findings"], mail["rows"], mail["rows_per_1000"]) == (60, 30, 600.0)
    assert mail["first_ids"] == [f"{number:032x}" for number in range(ROWS_LISTED)]
    assert "example" not in json.dumps(found)


def test_the_sample_does_not_depend_on_the_shards() -> None:
    table = rows([f"text {number}" for number in range(100)])
    shuffled = table.take(pa.array([(37 * n) % 100 for n in range(100)]))
    shards = [shuffled.slice(at, 13) for at in range(0, 100, 13)]
    assert sample(shards, 10).equals(sample([table], 10))
    assert sample(shards[::-1], 10)["prompt"].to_pylist() == [f"text {number}" for number in range(10)]


def test_no_rows_at_all() -> None:
    empty: dict[str, Any] = {"rows": 0, "rows_with_findings": 0, "types": {}}
    assert audit([], Pii(), ("en",), KnownEntities()) == audit([rows([])], Pii(), ("en",), KnownEntities()) == empty


def test_what_is_allowed_is_not_told() -> None:
    text = "Pfennigo: help@pfennigo.com\nHallo Pfennigo\n\nViele Grüße\nPfennigo"
    known = KnownEntities.of(["Pfennigo Weber"])
    names = {"EMAIL_ADDRESS", "NAME_AFTER_GREETING", "NAME_AFTER_CLOSING", "KNOWN_NAME"}
    told = audit([rows([text])], Pii(), ("de",), known)["types"]
    assert names <= set(told)
    allowing = Pii(allow_list=("PFENNIGO", "help@pfennigo.com"))
    assert not names & set(audit([rows([text])], allowing, ("de",), known)["types"])
