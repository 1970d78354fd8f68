"""Intercom: conversations with their parts, and tickets with theirs.

Output contract: `LAYOUTS`. `conversation_parts` comes with the API's single conversation and scripts around it; the
first message is `source`. A part counts if its type says that it was sent to the other side; notes never do. Bots, the
AI agent, campaigns that an admin or a series started, and redacted parts are left out.
Format: Intercom's API reference, "Conversations", "Conversation parts" and "Tickets".
"""

from __future__ import annotations

from typing import Any

from pipeline.read.conversations.conversation import Conversation, Layout, Side, has
from pipeline.read.conversations.document import Document, at, decoded, entries, first, flag, several, text, words

SIDES: dict[str, Side] = {
    "user": "customer", "lead": "customer", "contact": "customer", "visitor": "customer",
    "admin": "agent", "teammate": "agent", "team": "agent",
}  # fmt: skip
SENT = frozenset({"comment", "open", "close", "quick_reply"})  # with a body: a reply that also opened or closed
INSIDE = frozenset({"back-office", "tracker"})  # tickets that customers never see
CAMPAIGNS = frozenset({"automated", "operator_initiated"})


def _part(conversation: Conversation, part: Document, public: bool) -> None:
    author = part.get("author")
    kind = words(author, "type").casefold()
    machine = flag(at(author, "from_ai_agent")) or flag(at(author, "is_ai_answer")) or flag(part.get("redacted"))
    conversation.say(
        words(part, "body"),
        None if machine else SIDES.get(kind),
        public,
        first(part, "created_at"),
        words(author, "id"),
    )
    conversation.names += several([at(author, "name")])
    conversation.emails += several([at(author, "email")])


def _head(document: Document) -> Conversation:
    topics = [name for name in (words(tag, "name") for tag in entries(document.get("tags"), "tags")) if name]
    found = Conversation(
        id=words(document, "id", "conversationid", "ticketid"),
        subject=words(document, "title", "subject"),
        label=words(document, "topic", "category") or (topics[0] if topics else ""),
        status=words(document, "state") or ("open" if flag(document.get("open")) else ""),
        created=first(document, "createdat"),
    )
    for contact in entries(document.get("contacts"), "contacts"):
        found.names += several([contact.get("name")])
        found.emails += several([contact.get("email")])
        found.phones += several([contact.get("phone")])
    return found


def _conversation(document: Document) -> Conversation:
    found = _head(document)
    source: Any = first(document, "source", "conversationmessage")
    if isinstance(source, dict):
        found.subject = found.subject or words(source, "subject")
        started = {"created_at": document.get("createdat"), **source}
        _part(found, started, words(source, "delivered_as").casefold() not in CAMPAIGNS)
    for part in entries(decoded(document.get("conversationparts")), "conversation_parts", "data"):
        _part(found, part, words(part, "part_type") in SENT)
    return found


def _ticket(document: Document) -> Conversation:
    found = _head(document)
    attributes = document.get("ticketattributes")
    found.subject = found.subject or words(attributes, "_default_title_")
    inside = words(document, "category").casefold() in INSIDE or flag(document.get("isshared")) is False
    found.opening = "" if inside else text(at(attributes, "_default_description_"))
    found.label = found.label or words(document.get("tickettype"), "name")
    for part in entries(decoded(document.get("ticketparts")), "ticket_parts", "data"):
        _part(found, part, not inside and words(part, "part_type") in SENT)
    return found


LAYOUTS = (
    Layout("intercom conversation", lambda names: 5 if has(names, "conversationparts") else 0, _conversation),
    Layout("intercom ticket", lambda names: 5 if has(names, "ticketparts") else 0, _ticket),
)
