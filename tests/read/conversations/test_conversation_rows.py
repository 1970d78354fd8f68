"""Conversations into rows: order, machines, receipts, chats, quotes, turns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.config import Read
from pipeline.read.conversation_rows import holding, moment, row
from pipeline.read.conversations.conversation import Conversation, Side

FIRST, TURNS = Read(), Read(conversations="turns")


def talk(*said: tuple[Side, str], **more: Any) -> Conversation:
    found = Conversation(**more)
    for side, text in said:
        found.say(text, side, True)
    return found


def texts(conversation: Conversation, settings: Read = TURNS) -> tuple[str, ...]:
    found = row(1, conversation, settings)
    return tuple(text for text in (found.prompt, found.response, *found.later) if text)


def test_turns() -> None:
    found = talk(
        ("agent", "Welcome."),
        ("customer", "One."),
        ("customer", "Two."),
        ("agent", "Three."),
        ("agent", "Four."),
        ("customer", "Five."),
        ("agent", "Six."),
        ("customer", "Seven."),
    )
    assert texts(found) == ("One.\n\nTwo.", "Three.\n\nFour.", "Five.", "Six.")
    assert texts(found, FIRST) == ("One.\n\nTwo.", "Three.")


def test_nobody_answers() -> None:
    assert texts(talk(("customer", "One."), ("customer", "Two."))) == ("One.\n\nTwo.",)
    assert texts(talk(("agent", "Welcome."))) == ()
    assert row(3, Conversation(id="7"), FIRST).refused == ""


def test_a_note_is_never_held() -> None:
    found = Conversation()
    found.say("geheim", "agent", False)
    found.say("geheim", None, True)
    found.say(" \n", "agent", True)
    assert found.messages == []


@pytest.mark.parametrize(
    "receipt",
    [
        "We have received your request and will get back to you within 24 hours.",
        "Guten Tag,\n\nIhre Anfrage ist bei uns eingegangen. Wir melden uns in Kürze.",
        "Automatic reply: I am out of the office.",
        "This is an automated response. Please do not reply.",
    ],
)
def test_a_machine_is_no_agent(receipt: str) -> None:
    found = talk(("customer", "Help"), ("agent", receipt), ("agent", "Press the button."), ("customer", "ok"))
    assert texts(found) == texts(found, FIRST) == ("Help", "Press the button.")
    assert texts(talk(("customer", "Help"), ("agent", receipt))) == ("Help",)


def test_a_customer_on_holiday() -> None:
    away = "Automatic reply: Help\n\nI am out of the office."
    found = talk(("customer", "Help"), ("agent", "Which one?"), ("customer", away), ("agent", "Hello?"))
    assert texts(found) == ("Help", "Which one?\n\nHello?")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hallo Anna, hier ist Carla, ich schaue nach", True),
        ("Einen Moment bitte.", True),
        ("Hello Anna,", True),
        ("Hi, how can I help you today?", True),
        ("Guten Tag, womit kann ich Ihnen helfen?", True),
        ("Let me check that for you.", True),
        ("Hello Anna, please restart it.", False),
        ("Ich schaue nach: Fehler 51 heißt, dass die Karte gesperrt ist.", False),
        ("Which card is it?", False),
        ("Yes.", False),
        ("I will look into it. " * 20, False),
    ],
)
def test_an_answer_that_says_nothing_yet(text: str, expected: bool) -> None:
    assert holding(text) is expected
    found = talk(("customer", "Help"), ("agent", text), ("agent", "Done."))
    assert texts(found, FIRST)[1] == ("Done." if expected else text.strip())
    assert text.strip() in texts(found, TURNS)[1]


def test_order() -> None:
    found = Conversation()
    for time, text in (("10:20", "b"), (None, "c"), ("10:10", "a"), ("10:30", "d")):
        found.say(text, "customer", True, time and f"2026-01-02T{time}:00Z")
    assert texts(found) == ("a\n\nb\n\nc\n\nd",)


@pytest.mark.parametrize(
    "value",
    [
        1767339180,
        1767339180.0,
        1767339180000,
        "1767339180",
        "1767339180000",
        "2026-01-02T07:33:00Z",
        "2026-01-02T07:33:00.000+0000",
        "2026-01-02T08:33:00+01:00",
        "02.01.2026 07:33",
        "02/Jan/26 7:33 AM",
        "02/Jan/2026 07:33",
        "2026-01-02 07:33:00 AM",
    ],
)
def test_times(value: Any) -> None:
    assert moment(value) == datetime(2026, 1, 2, 7, 33, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, "", "soon", True, 1e300, float("nan"), [], {}])
def test_no_times(value: Any) -> None:
    assert moment(value) is None


def test_the_ticket_s_own_question_is_not_there_twice() -> None:
    answer: tuple[Side, str] = ("agent", "Yes.")
    html = "<p>My card is <b>blocked</b> since Monday.</p>"
    plain = "My card is blocked\nsince Monday."
    assert texts(talk(("customer", html), answer, opening=plain)) == ("My card is blocked since Monday.", "Yes.")
    assert texts(talk(("customer", "And?"), answer, opening=plain)) == (f"{plain}\n\nAnd?", "Yes.")
    assert texts(talk(answer, opening=plain, subject="Card")) == (f"Card\n\n{plain}", "Yes.")


def test_a_quote_of_what_was_said_before_goes() -> None:
    asked = "My card is blocked since Monday, what can I do?"
    answer = f"Please unlock it in the app.\n\nOn Fri, 2 Jan 2026 at 08:00, Anna Schmidt wrote:\n> {asked}"
    header = "Von: Support <desk@example.com>\nGesendet: Freitag, 2. Januar 2026\nAn: Anna\nBetreff: Card"
    again = f"It works.\n\n{header}\n\n{answer}"
    found = talk(
        ("customer", asked), ("agent", answer), ("customer", again), ("agent", "Great."), agents=["desk@example.com"]
    )
    assert texts(found) == (asked, "Please unlock it in the app.", "It works.", "Great.")


def test_a_chat_in_a_message() -> None:
    chat = (
        "Conversation with Anna Schmidt\n\n(10:00:12) Anna Schmidt: hi, my card is blocked\n"
        "(10:00:40) *** Ben joined the chat ***\n(10:00:55) Ben: Hello Anna, what is the message on the screen?\n"
        "(10:01:20) Anna Schmidt: card refused 51\n(10:02:10) Ben: I have unblocked it, please try again."
    )
    found = talk(("customer", chat), subject="Conversation with Anna Schmidt", customers=["Anna Schmidt"])
    assert texts(found) == (
        "hi, my card is blocked",
        "Hello Anna, what is the message on the screen?",
        "card refused 51",
        "I have unblocked it, please try again.",
    )
