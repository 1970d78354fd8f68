"""Front: conversations with their messages, and messages in a file of their own.

Output contract: `LAYOUTS`. A conversation with `messages` comes from scripts around the API; messages alone name their
conversation in `_links`, and are joined. Messages are what was sent or received; drafts, and messages that failed, are
left out. Comments are Front's internal talk: they are never read, wherever they lie.
Format: Front's API reference, "Conversations" and "Messages".
"""

from __future__ import annotations

from typing import Any

from pipeline.read.conversations.conversation import Conversation, Layout, has, part_of
from pipeline.read.conversations.document import (
    Document,
    at,
    decoded,
    entries,
    first,
    flag,
    several,
    unfolded,
    words,
)

SIGNS = (
    "recipient", "assignee", "statuscategory", "statusid", "isprivate", "lastmessage", "scheduledreminders",
    "links", "tickets", "customfields", "inboxes",
)  # fmt: skip
NO_MESSAGES = ("call", "phone-call", "internal", "comment", "note")


def _message(conversation: Conversation, message: Document) -> None:
    incoming = flag(message.get("is_inbound"))
    failed = flag(message.get("is_draft")) or first(message, "draft_mode", "error_type")
    said = words(message, "type") not in NO_MESSAGES and not failed and incoming is not None
    conversation.say(
        words(message, "body", "text"),
        ("customer" if incoming else "agent") if said else None,
        flag(message.get("is_internal")) is not True,  # a message is what was sent or received
        first(message, "created_at", "date"),
    )
    author = message.get("author")
    full = " ".join(several([at(author, "first_name"), at(author, "last_name")]))
    conversation.names += several([full, at(author, "name")])
    conversation.emails += several([at(author, "email")])
    for person in entries(message.get("recipients")):
        _handle(conversation, person)


def _handle(conversation: Conversation, person: Any) -> None:
    handle = words(person, "handle")
    if "@" in handle:
        conversation.emails.append(handle)
    elif handle.lstrip("+").replace(" ", "").isdigit():
        conversation.phones.append(handle)
    conversation.names += several([at(person, "name")])


def _conversation(document: Document) -> Conversation:
    tags = [words(tag, "name") for tag in entries(document.get("tags"))]
    found = Conversation(
        id=words(document, "id"),
        subject=words(document, "subject"),
        label=words(document, "topic", "category") or (tags[0] if tags else ""),
        status={"archived": "closed"}.get(words(document, "status"), words(document, "status")),
        created=first(document, "createdat"),
    )
    _handle(found, document.get("recipient"))
    for message in entries(decoded(document.get("messages")), "_results", "results", "messages"):
        _message(found, message)
    return found


def _single(document: Document) -> Conversation:
    """A message in a file of its own; its conversation's address ends with its id."""
    link = words(document, "conversationid") or words(document.get("links"), "related.conversation")
    found = part_of(link.rstrip("/").rsplit("/", 1)[-1], "a message without its conversation")
    found.subject = words(document, "subject")
    names = ("is_inbound", "is_draft", "is_internal", "created_at", "draft_mode", "error_type")
    _message(found, unfolded(document, *names))
    return found


LAYOUTS = (
    Layout(
        "front conversation",
        lambda names: (
            1 + sum(name in names for name in SIGNS)
            if "messages" in names and sum(name in names for name in SIGNS) >= 2
            else 0
        ),
        _conversation,
    ),
    Layout(
        "front messages",
        lambda names: 5 if has(names, "isinbound", ("links", "conversationid"), ("body", "text")) else 0,
        _single,
        joined="front",
    ),
)
