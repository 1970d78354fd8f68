"""The `messages` mapping: any export's conversations, described in the configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config import Messages, Read
from pipeline.errors import InputError
from pipeline.read.conversation_rows import rows
from pipeline.read.conversations.join import joined
from pipeline.read.conversations.mapped import check, layout
from pipeline.read.rows import Row

DOCUMENT: dict[str, Any] = {
    "ticket": {"no": 7, "title": "Invoice", "state": "Solved", "topic": "Billing", "opened": "2026-01-02T07:00:00Z"},
    "who": {"name": "Anna Schmidt", "mail": "anna@example.org"},
    "log": {
        "items": [
            {
                "role": "Agent",
                "text": "It is in the menu.",
                "visible": True,
                "at": "2026-01-02T09:00:00Z",
                "by": "Ben Roth",
            },
            {
                "role": "user",
                "text": "<p>Where is the <b>invoice</b>?</p>",
                "visible": "yes",
                "at": "2026-01-02T08:00:00Z",
            },
            {"role": "agent", "text": "geheim", "visible": False, "at": "2026-01-02T08:10:00Z"},
            {"role": "agent", "text": "geheim", "at": "2026-01-02T08:20:00Z"},
            {"role": "bot", "text": "VIP", "visible": True, "at": "2026-01-02T08:30:00Z"},
            {"role": "user", "text": "And for May?", "visible": True, "at": "2026-01-02T10:00:00Z"},
            {"role": "agent", "text": "There, too.", "visible": True, "at": "2026-01-02T11:00:00Z"},
        ]
    },
}
MAPPING = Messages(
    path="log.items",
    body="text",
    author="role",
    public="visible",
    time="at",
    subject="ticket.title",
    source_id="ticket.no",
    label="ticket.topic",
    status="ticket.state",
    created_at="ticket.opened",
    names=("who.name", "by"),
    emails=("who.mail",),
)


def read(mapping: Messages, documents: list[dict[str, Any]], **settings: Any) -> list[Row]:
    pieces = layout(mapping).of_documents(enumerate(documents, 1))
    placed = ((("x", line), piece) for line, piece in pieces)
    return list(rows(placed if mapping.path else joined(placed), Read(**settings)))


def test_a_list_of_messages() -> None:
    (row,) = read(MAPPING, [DOCUMENT], conversations="turns")
    assert (row.prompt, row.response) == ("Invoice\n\nWhere is the invoice?", "It is in the menu.")
    assert row.later == ("And for May?", "There, too.")
    assert (row.source_id, row.label, row.resolved) == ("7", "Billing", True)
    assert row.entities == (("NAME", "Anna Schmidt"), ("NAME", "Ben Roth"), ("EMAIL", "anna@example.org"))


def test_a_list_in_a_cell() -> None:
    (row,) = read(MAPPING.model_copy(update={"path": "messages"}), [{"messages": json.dumps(DOCUMENT["log"]["items"])}])
    assert (row.prompt, row.response) == ("Where is the invoice?", "It is in the menu.")
    (damaged,) = read(MAPPING.model_copy(update={"path": "messages"}), [{"messages": "[{"}])
    assert not damaged.readable


def test_a_message_per_row() -> None:
    mapping = Messages(
        body="text", author="from", requester="customer", internal="private", source_id="case", time="at"
    )
    records = [
        {"case": "2", "customer": "jo", "from": "ben", "text": "No.", "private": "0", "at": "2"},
        {"case": "1", "customer": "anna", "from": "ben", "text": "geheim", "private": "1", "at": "1"},
        {"case": "1", "customer": "anna", "from": "anna", "text": "Where?", "private": "0", "at": "2"},
        {"case": "2", "customer": "jo", "from": "jo", "text": "Is it free?", "private": "0", "at": "1"},
        {"case": "", "customer": "jo", "from": "jo", "text": "geheim", "private": "0", "at": "1"},
        {"case": "1", "customer": "anna", "from": "carla", "text": "Here.", "private": "", "at": "3"},
        {"case": "1", "customer": "anna", "from": "carla", "text": "There.", "private": "0", "at": "4"},
    ]
    damaged, second, first = read(mapping, records)
    assert (damaged.line, damaged.readable) == (5, False)
    # Times that are none leave the order of the rows.
    assert (first.prompt, first.response, first.line) == ("Where?", "There.", 2)
    assert (second.prompt, second.response, second.line) == ("Is it free?", "", 1)


def test_messages_that_are_all_public() -> None:
    mapping = Messages(path="turns", body="content", author="role", public=True, agent=("assistant",))
    turns = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
    (row,) = read(mapping, [{"turns": turns}])
    assert (row.prompt, row.response) == ("2 + 2?", "4")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"path": "a"}, "public: true"),
        ({"path": "a", "public": "b", "internal": "c"}, "either"),
        ({"public": "b"}, "source_id"),
        ({"path": "a", "public": False}, "public"),
    ],
)
def test_what_must_be_said(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        Messages(body="text", author="role", **settings)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"path": "log.entries"}, "log.entries"),
        ({"path": "who"}, "messages.path"),
        ({"body": "txt"}, "messages.body"),
        ({"public": "is_public"}, "messages.public"),
        ({"subject": "title"}, "messages.subject"),
    ],
)
def test_a_path_that_leads_nowhere(change: dict[str, Any], word: str) -> None:
    check(MAPPING, [DOCUMENT], "a.json")
    with pytest.raises(InputError, match=word):
        check(MAPPING.model_copy(update=change), [DOCUMENT], "a.json")
