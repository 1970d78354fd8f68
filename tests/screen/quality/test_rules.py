"""The quality stage: one row for every rule, what it must leave alone, and the bundled sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline import schema
from pipeline.config import Quality, Read
from pipeline.read import discover, read
from pipeline.screen.quality.rules import RULES, QualityStage

SAMPLE = Path(__file__).parents[3] / "assets" / "sample"
QUESTION = "Card declined\n\nMy card was declined twice yesterday, what can I do?"
ANSWER = "Please check the limit of your card in the app first, then try again with the PIN."
GOOD = {"prompt": QUESTION, "response": ANSWER}
BAD: dict[str, dict[str, str]] = {
    "bounce": {**GOOD, "prompt": "Undelivered Mail Returned to Sender\n\nThis is the mail system at host mx1."},
    "auto_reply": {**GOOD, "prompt": "Automatische Antwort: Ihre Rechnung\n\nIch bin bis Montag nicht im Büro."},
    "system_message": {**GOOD, "response": 'This request was closed and merged into request #4711 "Card".'},
    "read_receipt": {**GOOD, "prompt": "Your message\n\nTo: Help\nSubject: Card\n\nwas read on Monday, 4 May."},
    "voicemail": {**GOOD, "prompt": "Voicemail from Caller +49 30 555\n\nDuration: 0:35"},
    "newsletter": {**GOOD, "prompt": "May news\n\nView this email in your browser\n\nNew cards.\n\nUnsubscribe"},
    "closing_words": {**GOOD, "response": "Vielen Dank, das Ticket kann geschlossen werden. Viele Grüße, Anna"},
    "template_answer": {
        **GOOD,
        "response": "Guten Tag,\n\nwir haben Ihre Anfrage erhalten und melden uns schnellstmöglich.\n\nIhr Support",
    },
    "answer_repeats_question": {**GOOD, "response": "MY CARD was declined (twice) yesterday - what can I do?!"},
    "answer_too_short": {**GOOD, "response": "Yes."},
    "too_short": {"kind": "document", "prompt": "test", "response": "abc"},
    "too_long": {**GOOD, "response": ANSWER * 2_000},
    "symbols": {**GOOD, "response": "|---|---|---|:-:|" * 20 + " see the table"},
    "repeated_lines": {**GOOD, "response": ANSWER + "\nPlease call us about it again.\n" * 30},
    "repeated_words": {**GOOD, "response": ANSWER + " buy cheap cards" * 60},
}


@pytest.fixture(scope="module")
def stage() -> QualityStage:
    return QualityStage(Quality())


@pytest.mark.parametrize("rule", BAD)
def test_marks(rule: str, stage: QualityStage, make_working: Any) -> None:
    before = make_working([GOOD, BAD[rule]])
    table = stage(before)
    good, bad = table.to_pylist()
    assert good["stage"] is None
    assert (bad["stage"], bad["reason"]) == ("quality", rule)
    assert bad["threshold"] == pytest.approx(getattr(Quality(), rule))
    assert bad["score"] is not None
    assert table.schema.equals(schema.WORKING)
    assert table.drop_columns(schema.MARKS.names).equals(before.drop_columns(schema.MARKS.names))


def test_every_rule_has_a_row_above_a_setting_and_its_place() -> None:
    assert [name for name, *_ in RULES] == list(BAD)
    assert list(BAD) == [name for name in Quality.model_fields if name not in ("template_phrases", "shared_answer")]


@pytest.mark.parametrize("rule", BAD)
def test_null_turns_a_rule_off(rule: str, make_working: Any) -> None:
    off = QualityStage(Quality.model_validate({rule: None}))
    assert off(make_working([BAD[rule]]))["reason"].to_pylist() != [rule]


@pytest.mark.parametrize(
    ("rule", "limit", "rejected"),
    [
        ("bounce", 10, False),
        ("auto_reply", 10, False),
        ("system_message", 10, False),
        ("read_receipt", 10, False),
        ("voicemail", 10, False),
        ("newsletter", 10, False),
        ("closing_words", 10, False),
        ("template_answer", 10, False),
        ("answer_repeats_question", 1.0, True),  # the same words
        ("answer_too_short", 1, False),
        ("too_short", 2, False),
        ("too_long", 100_000, False),
        ("symbols", 0.99, False),
        ("repeated_lines", 0.99, False),
        ("repeated_words", 0.99, False),
    ],
)
def test_the_threshold_decides(rule: str, limit: float, rejected: bool, make_working: Any) -> None:
    table = QualityStage(Quality.model_validate({rule: limit}))(make_working([BAD[rule]]))
    assert (table["reason"].to_pylist() == [rule]) is rejected


def test_first_reason_wins(stage: QualityStage, make_working: Any) -> None:
    rows = [*BAD.values(), GOOD]
    marked = schema.mark(make_working(rows), np.ones(len(rows), dtype=bool), "exact", "exact_duplicate")
    assert stage(marked).equals(marked)
    both = {**BAD["bounce"], "response": "Ok"}
    assert stage(make_working([both]))["reason"].to_pylist() == ["bounce"]


def test_empty_batch(stage: QualityStage) -> None:
    assert stage(schema.WORKING.empty_table()).equals(schema.WORKING.empty_table())


def test_null_text_is_empty_text(stage: QualityStage, make_working: Any) -> None:
    table = stage(make_working([{"prompt": None, "response": None}, {**GOOD, "response": None}]))
    assert table["reason"].to_pylist() == ["answer_too_short", "answer_too_short"]


def test_documents_may_be_about_machine_mail(stage: QualityStage, make_working: Any) -> None:
    names = list(BAD)[: list(BAD).index("too_short")]
    table = stage(make_working([{**BAD[name], "kind": "document"} for name in names]))
    assert schema.unmarked(table).all()


def test_own_phrases(make_working: Any) -> None:
    answer = {**GOOD, "response": "Danke für Ihre Geduld. Das PFENNIGO-Team kümmert sich um alles."}
    stage = QualityStage(Quality(template_phrases=("das Pfennigo-Team (kümmert", "das Pfennigo-Team kümmert sich")))
    assert stage(make_working([answer, GOOD]))["reason"].to_pylist() == ["template_answer", None]
    with pytest.raises(ValidationError):
        Quality(template_phrases=("",))  # every answer contains it


def test_a_batch_is_judged_row_by_row(stage: QualityStage, make_working: Any) -> None:
    """Also one that is a slice, or in several chunks."""
    table = make_working([GOOD, *BAD.values(), GOOD])
    whole = stage(table)
    rows = [stage(table.slice(row, 1)) for row in range(table.num_rows)]
    assert pa.concat_tables(rows).equals(whole)
    assert stage(pa.concat_tables([table.slice(3), table.slice(0, 3)])).slice(0, 4).equals(whole.slice(3, 4))


def test_no_kept_row_of_the_bundled_sample_is_rejected(stage: QualityStage) -> None:
    lines = (SAMPLE / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    planned = {(row["source"], row["id"]): row["reason"] for row in map(json.loads, lines)}
    files = discover([str(SAMPLE / "dump")], Read()).files
    rows = [row for file in files for table in read(file, Read()) for row in stage(table).to_pylist()]
    assert len(rows) > 2_000
    rejected = [row for row in rows if row["stage"] == "quality"]
    assert [row for row in rejected if planned.get((row["source"], row["source_id"]), "kept") == "kept"] == []
