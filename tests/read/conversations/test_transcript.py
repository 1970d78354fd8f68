"""Chats that an export keeps as one text."""

from __future__ import annotations

import pytest

from pipeline.read.conversations.conversation import Side
from pipeline.read.conversations.transcript import likely, spoken
from pipeline.read.conversations.transcript import split as transcript


def split(text: str, customers: list[str], agents: list[str]) -> list[tuple[Side, str]] | None:
    found = transcript(text, customers, agents)
    assert found is None or likely(text, customers)
    return None if found is None else found.turns


ZENDESK = """\
Conversation with Anna Schmidt

URL: https://example.org/cards

(10:00:12) Anna Schmidt: hi, my card
is blocked
(10:00:20) Anna Schmidt: since Monday
(10:00:40) *** Ben joined the chat ***
(10:00:45) Answer Bot: did you try the FAQ?
(10:00:55) Ben: Which message: 51 or 54?
(10:01:20) Anna Schmidt: 51
(10:02:10) Ben: Please try again.
(10:03:10) *** Anna Schmidt left the chat ***
"""


def test_a_chat() -> None:
    assert split(ZENDESK, ["Anna Schmidt"], []) == [
        ("customer", "hi, my card\nis blocked\nsince Monday"),
        ("agent", "Which message: 51 or 54?"),
        ("customer", "51"),
        ("agent", "Please try again."),
    ]


@pytest.mark.parametrize(
    ("text", "customers", "agents"),
    [
        (
            "[05.01.26, 10:00:12] Anna Schmidt: Hallo\n[05.01.26, 10:00:55] Kundenservice: Guten Tag",
            ["Anna Schmidt"],
            [],
        ),
        ("[05.01.26, 10:00:12] A. S.: Hallo\n[05.01.26, 10:00:55] Kundenservice: Guten Tag", [], []),
        ("10:00 Besucher 12: Hallo\n10:01 Ben: Guten Tag", [], []),
        ("2026-01-05 10:00:12 - Anna: Hallo\n2026-01-05 10:00:13 - Ben: Guten Tag", ["anna"], []),
        ("(10:00 AM) x: Hallo\n(10:01 AM) Ben: Guten Tag", [], ["Ben Roth"]),
        ("Visitor 12345678\nanna: Hallo\nben: Guten Tag", ["anna"], ["ben@example.org"]),
        ("Customer: Hallo\nSupport: Guten Tag", [], []),
    ],
)
def test_forms(text: str, customers: list[str], agents: list[str]) -> None:
    assert split(text, customers, agents) == [("customer", "Hallo"), ("agent", "Guten Tag")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "My card is blocked.",
        "Problem: it fails\nVersion: 5.2\nSystem: Windows",
        "Anna Schmidt: my card is blocked",
        "Name: Anna Schmidt\nProblem: the card",
        "(10:00) Ben: hello\n(10:01) Carla: hello",  # who is the customer?
        "Customer: ACME\nProblem: printer\nPhone: 1",
        "Anna Schmidt: 030 123\nMax Weber: 030 456",
        "Fehler um 10:00: nichts\num 11:00: alles",
        "Error 10:00:12 disk: full\n10:00:13 disk: full",
    ],
)
def test_other_texts(text: str) -> None:
    assert split(text, ["Anna Schmidt"], []) is None


def test_names_without_stamps() -> None:
    text = "Visitor 12345678\nanna: karte geht nicht\ncarla: hallo anna, ich schaue nach\nanna: danke"
    assert split(text, ["anna"], []) == [
        ("customer", "karte geht nicht"),
        ("agent", "hallo anna, ich schaue nach"),
        ("customer", "danke"),
    ]


def test_linear() -> None:
    """A hostile text of a megabyte is looked at in steps that do not grow with it."""
    for text in (
        "(" * 1_000_000,
        "a:" * 500_000,
        "10:00:" * 150_000,
        "x\n" * 50_000,
        " " * 1_000_000,
        "*" * 1_000_000,
    ):
        assert split(text, ["Anna"], []) is None
    assert split("Anna: a\nBen: b\n" * 5_000, ["Anna"], []) is not None


def test_who_speaks_and_what_a_single_line_says() -> None:
    found = transcript(ZENDESK, ["Anna Schmidt"], [])
    assert found is not None
    assert found.speakers == ("Anna Schmidt", "Ben")
    assert spoken("(10:02:10) Ben: Please try again.") == "Please try again."
    assert spoken("At 10:02 Ben said: no") == "At 10:02 Ben said: no"


def test_a_message_above_the_chat_is_the_customers() -> None:
    complaint = "Guten Tag, Ihr Chat hat mir eine falsche Auskunft gegeben, bitte erstatten Sie 20 EUR:"
    chat = "[10:00] Max Muster: Ist die Retoure kostenlos?\n[10:01] Ben Boss: Ja, sie ist kostenlos."
    found = transcript(f"{complaint}\n{chat}", ["Max Muster"], ["Ben Boss"])
    assert found is not None
    assert found.turns == [
        ("customer", complaint),
        ("customer", "Ist die Retoure kostenlos?"),
        ("agent", "Ja, sie ist kostenlos."),
    ]
    titled = transcript(f"Chat from Monday\n{chat}", ["Max Muster"], ["Ben Boss"])
    assert titled is not None
    assert titled.turns == found.turns[1:]
