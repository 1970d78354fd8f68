"""Freshdesk and Freshservice: tickets with their conversations.

Output contract: `LAYOUTS`. Tickets with `conversations` come from the API (`?include=conversations`),
`helpdesk_ticket` with `notes` from the account export in JSON; conversations alone (`ticket_id`, `incoming`, `private`)
from the list of a ticket's conversations, joined with tickets. A message counts if `private` is false and its source is
a reply, a public note or a channel's message; forwarded mails and survey answers are no part of the conversation.
Format: Freshdesk's API reference, "Tickets" and "Conversations".
"""

from __future__ import annotations

from typing import Any

from pipeline.read.conversations.conversation import Conversation, Layout, Side, has, part_of
from pipeline.read.conversations.document import (
    Document,
    ShapeError,
    at,
    decoded,
    entries,
    first,
    flag,
    folded,
    several,
    unfolded,
    words,
)
from pipeline.read.text.numbers import number

TICKET = (
    "responderid", "requesterid", "descriptiontext", "frescalated", "dueby", "frdueby", "isescalated", "companyid",
    "supportemail", "emailconfigid", "productid", "responder", "requester",
)  # fmt: skip
NOT_SAID = frozenset({"6", "8"})  # source of a conversation: a survey's answer, a forwarded mail
OUTBOUND = frozenset({"10", "outbound email"})  # source of a ticket: an agent wrote the description
STATUS = {"2": "open", "3": "pending", "4": "resolved", "5": "closed"}


def _note(conversation: Conversation, note: Document) -> None:
    """Adds a conversation of the API, or a note of the account export."""
    private, incoming = flag(note.get("private")), flag(note.get("incoming"))
    side: Side | None = None if incoming is None else "customer" if incoming else "agent"
    if (
        number(words(note, "source")) in NOT_SAID
        or flag(first(note, "deleted", "is_deleted"))
        or note.get("automation_id")
    ):
        side = None
    conversation.say(
        words(note, "body_html", "body", "body_text"),
        side,
        None if private is None else not private,
        first(note, "created_at"),
        words(note, "user_id"),
    )
    conversation.emails += [email for email in several([note.get("from_email")]) if "@" in email]


def _head(ticket: Document) -> Conversation:
    """Returns what a ticket tells without its conversations: its description is the first message."""
    status = words(ticket, "statusname", "status")
    found = Conversation(
        key=words(ticket, "id", "displayid"),
        id=words(ticket, "displayid", "id"),
        subject=words(ticket, "subject"),
        label=words(ticket, "topic", "category", "type", "tickettype"),
        status=STATUS.get(status, status),
        created=first(ticket, "createdat"),
    )
    description = words(ticket, "descriptionhtml", "description", "descriptiontext", "subject")
    if number(words(ticket, "sourcename", "source").casefold()) in OUTBOUND:
        found.say(description, "agent", True, found.created)
    else:
        found.opening = description
    for name in ("requester", "responder", "contact"):
        person: Any = ticket.get(name)
        found.names += several([at(person, "name"), ticket.get(f"{name}name")])
        found.emails += several([at(person, "email"), ticket.get(f"{name}email")])
        found.phones += several([at(person, "phone"), at(person, "mobile"), ticket.get(f"{name}phone")])
    found.emails += several([ticket.get("email")])
    found.phones += several([ticket.get("phone")])
    return found


def _ticket(document: Document) -> Conversation:
    found = _head(document)
    for note in entries(decoded(document.get("conversations")), "conversations"):
        _note(found, note)
    return found


def _exported(document: Document) -> Conversation:
    ticket = document.get("helpdeskticket")
    if not isinstance(ticket, dict):
        raise ShapeError("no ticket")
    found = _head(folded(ticket))
    for note in entries(first(ticket, "notes", "helpdesk_notes")):
        _note(found, note["helpdesk_note"] if isinstance(note.get("helpdesk_note"), dict) else note)
    return found


def _single(document: Document) -> Conversation:
    """A conversation in a file of its own."""
    found = part_of(words(document, "ticketid"), "a conversation without its ticket")
    _note(found, unfolded(document, "body_text", "created_at", "from_email", "user_id"))
    return found


def _alone(names: frozenset[str]) -> int:
    signs = sum(name in names for name in TICKET)
    return signs if has(names, "id", "subject") and "conversations" not in names and signs >= 3 else 0


LAYOUTS = (
    Layout(
        "freshdesk conversation",
        lambda names: 2 + sum(name in names for name in TICKET) if has(names, "conversations", TICKET) else 0,
        _ticket,
    ),
    Layout("freshdesk export", lambda names: 9 if "helpdeskticket" in names else 0, _exported),
    Layout(
        "freshdesk replies",
        lambda names: 5 if has(names, "ticketid", "incoming", "private", ("body", "bodytext")) else 0,
        _single,
        joined="freshdesk",
        needs_tickets=True,
    ),
    Layout("freshdesk tickets", _alone, _head, joined="freshdesk", messages=False),
)
