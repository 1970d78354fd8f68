"""Rows of several exchanges: every row stage looks at every turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import schema
from pipeline.config import Language, Pii, Quality, Toxicity
from pipeline.run import Run
from pipeline.screen.language import LanguageStage
from pipeline.screen.pii.entities import KnownEntities
from pipeline.screen.pii.leak_audit import audit
from pipeline.screen.pii.scrub import PiiStage
from pipeline.screen.quality.rules import QualityStage
from pipeline.screen.quality.shared_answers import SharedAnswerStage, shared_answers
from pipeline.screen.toxicity.score import ToxicityStage
from pipeline.screen.toxicity.stage import pool

TOXICITY = Path(__file__).parents[2] / "assets" / "toxicity-small"
ASKED = "My card was declined twice yesterday, what can I do about it?"
ANSWER = "Please open the app, tap on Cards and look at the daily limit there."
AGAIN = "I did that and the limit is fine, it still does not work in the shop."
DONE = "Then we send you a new card today, it arrives within three working days."
ABUSE = "You are a stupid idiot and a disgusting piece of trash, shut up!"
RECEIPT = "We have received your request and will get back to you as soon as possible."
AWAY = "I am out of the office until Monday and have no access to my e-mails."


def conversation(**turns: Any) -> dict[str, Any]:
    return {"prompt": ASKED, "response": ANSWER, "later": [AGAIN, DONE], **turns}


# -- personal data ----------------------------------------------------------------------------------------------------


def test_every_turn_is_scrubbed_and_findings_are_listed_in_reading_order(make_working: Any) -> None:
    stage = PiiStage(Pii(), ("en", "de"), KnownEntities.of(["Anna Schmidt"]))
    own = [{"type": "NAME", "text": name} for name in ("Jonas Lindner", "Write Well")]
    rows = [
        {"prompt": "a@example.com", "response": "Fine."},
        {
            "prompt": "Jonas here.",
            "response": "Which number?",
            "later": [
                "+49 30 23125123, or jonas@example.com",
                "Thanks, Jonas. Write to us.",
                "Anna Schmidt knows",
                "DE89370400440532013000",
            ],
            "entities": own,
            "lang": "en",
        },
        {"prompt": "Write again", "response": "No, 203.0.113.7", "later": ["Write to me", "Yes"]},
    ]
    table = stage(make_working(rows))
    assert table.schema.equals(schema.WORKING)
    assert schema.turns(table)[0].to_pylist() == [
        *("<EMAIL_ADDRESS>", "Fine."),
        *("<PERSON> here.", "Which number?", "<PHONE_NUMBER>, or <EMAIL_ADDRESS>", "Thanks, <PERSON>. <PERSON> to us."),
        *("<PERSON> knows", "<IBAN_CODE>"),
        *("Write again", "No, <IP_ADDRESS>", "Write to me", "Yes"),
    ]
    assert table["pii"].to_pylist() == [
        ["EMAIL_ADDRESS"],
        ["PERSON", "PHONE_NUMBER", "EMAIL_ADDRESS", "PERSON", "PERSON", "PERSON", "IBAN_CODE"],
        ["IP_ADDRESS"],
    ]


def test_a_person_has_one_pseudonym_in_all_turns(make_working: Any) -> None:
    stage = PiiStage(Pii(mode="pseudonym"), ("en",), KnownEntities.of(["Anna Schmidt", "Paul Weber"]), b"k" * 32)
    own = [{"type": "NAME", "text": "Anna Schmidt"}]
    rows = [conversation(prompt="Anna Schmidt here.", response="Hello Anna,", later=["Schmidt, Anna", "Paul Weber"])]
    table = stage(make_working([{**row, "entities": own} for row in rows]))
    first, second, third, fourth = schema.turns(table)[0].to_pylist()
    anna = first.removesuffix(" here.")
    assert anna.startswith("<PERSON_")
    assert (second, third) == (f"Hello {anna},", anna)
    assert fourth.startswith("<PERSON_")
    assert fourth != anna


def test_marked_rows_between_conversations_keep_their_turns(make_working: Any) -> None:
    stage = PiiStage(Pii(), ("en",), KnownEntities())
    table = make_working([conversation(later=[f"{n}@example.com", "x"] * n) for n in range(4)])
    marked = schema.mark(table, np.array([False, True, False, True]), "language", "language")
    scrubbed = ["<EMAIL_ADDRESS>", "x"]
    later = stage(marked)["later"].to_pylist()
    assert later == [[], ["1@example.com", "x"], scrubbed * 2, ["3@example.com", "x"] * 3]


def test_the_leak_audit_reads_every_turn(make_working: Any) -> None:
    table = make_working([conversation(later=["to jane@example.com", DONE]), conversation()])
    found = audit([table], Pii(), ("en",), KnownEntities())
    assert found["rows_with_findings"] == 1
    assert found["types"]["EMAIL_ADDRESS"]["findings"] == 1


# -- toxicity ---------------------------------------------------------------------------------------------------------


def test_abuse_in_any_turn_marks_the_row(make_working: Any) -> None:
    stage = ToxicityStage(Toxicity(model=str(TOXICITY)))
    rows = [
        conversation(later=[AGAIN, DONE, ABUSE, DONE]),
        conversation(),
        {"prompt": ASKED, "response": ANSWER},
        conversation(later=[AGAIN, ABUSE]),
    ]
    table = stage(make_working(rows))
    assert table["reason"].to_pylist() == ["toxicity", None, None, "toxicity"]
    assert stage.scored.texts == len({ASKED, ANSWER, AGAIN, DONE, ABUSE})
    alone = stage(make_working([{"prompt": text, "response": ""} for text in (ASKED, ANSWER, AGAIN, DONE)]))
    assert table["toxicity"].to_pylist()[1] == max(alone["toxicity"].to_pylist())


def test_an_early_exit_is_fitted_to_every_turn(tmp_path: Path, make_working: Any) -> None:
    run = Run.open(str(tmp_path))
    run.write_table("part.parquet", make_working([conversation(), {"prompt": ASKED, "response": " "}]))
    assert set(pool(run, ["part.parquet"], 2)) == {ASKED, ANSWER, AGAIN, DONE}


# -- language and quality ---------------------------------------------------------------------------------------------


def test_the_language_is_that_of_all_turns(make_working: Any) -> None:
    stage = LanguageStage(Language(), ("en", "de"))
    french = "Ma carte a été refusée deux fois hier, que dois-je faire ? J'attends votre réponse depuis une semaine."
    rows = [conversation(), conversation(prompt="Ok", response="?", later=[french, french] * 3)]
    table = stage(make_working(rows))
    assert table["lang"].to_pylist() == ["en", "fr"]
    assert table["reason"].to_pylist() == [None, "language"]


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ((AGAIN, DONE), None),
        ((AGAIN, "Yes."), None),  # short answers are part of a conversation
        ((AGAIN, RECEIPT), "template_answer"),
        ((AWAY, DONE), "auto_reply"),
        ((AGAIN, DONE, AGAIN, AGAIN), "answer_repeats_question"),
        ((AGAIN, DONE + " buy cheap cards" * 60), "repeated_words"),
        ((AGAIN, "|---|---|---|:-:|" * 20), "symbols"),
        (("please " + AGAIN, f"{ANSWER} {DONE} " * 2) * 600, "too_long"),
    ],
)
def test_quality_rules_look_at_every_exchange(later: tuple[str, ...], reason: str | None, make_working: Any) -> None:
    stage = QualityStage(Quality())
    rows = [conversation(), conversation(later=list(later)), {"prompt": ASKED, "response": ANSWER}]
    assert stage(make_working(rows))["reason"].to_pylist() == [None, reason, None]


def test_the_same_closing_words_in_every_turn_are_no_repetition(make_working: Any) -> None:
    closing = "\nKind regards from all of us at your bank"
    row = conversation(response=ANSWER + closing, later=[AGAIN, DONE + closing] * 8)
    assert QualityStage(Quality(answer_repeats_question=None))(make_working([row]))["reason"].to_pylist() == [None]


def test_an_answer_that_is_shared_is_all_that_the_agent_says(tmp_path: Path, make_working: Any) -> None:
    run = Run.open(str(tmp_path))
    rows = [conversation(prompt=f"{ASKED} {number}") for number in range(3)]
    rows += [conversation(prompt=f"{ASKED} {number}", later=[AGAIN, f"{DONE} Call us."]) for number in range(2)]
    table = make_working(rows)
    run.write_table("part.parquet", table)
    stage = SharedAnswerStage(shared_answers(run, ["part.parquet"], 2), 2)
    assert stage(table)["reason"].to_pylist() == ["shared_answer"] * 3 + [None] * 2
