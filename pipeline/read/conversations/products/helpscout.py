"""Help Scout: conversations with their threads.

Output contract: `LAYOUTS`. Threads lie in `_embedded.threads` (`?embed=threads`) or in `threads`. A thread counts if it
is a customer's, a reply or a chat line and was published: notes, drafts, hidden and forwarded threads, phone notes
and line items (assigned, closed, workflow) are left out.
Format: Help Scout's Mailbox API 2.0, "Conversation" and "Thread".
"""

from __future__ import annotations

from typing import Any

from pipeline.read.conversations.conversation import Conversation, Layout, Side, has
from pipeline.read.conversations.document import Document, at, decoded, entries, first, several, text, words

SIGNS = ("primarycustomer", "customer", "mailboxid", "mailbox", "folderid", "userupdatedat", "number", "preview")
SAID: dict[str, Side | None] = {"customer": "customer", "message": "agent", "reply": "agent"}
CHATS = frozenset({"chat", "beaconchat"})
WRITERS: dict[str, Side] = {"customer": "customer", "user": "agent"}


def _person(conversation: Conversation, person: Any) -> None:
    if isinstance(person, dict):
        parts = (first(person, "first", "firstName"), first(person, "last", "lastName"))
        conversation.names += several([" ".join(several(parts)), person.get("name")])
        conversation.emails += several([person.get("email")])
        conversation.phones += several([person.get("phone")])


def _thread(conversation: Conversation, thread: Document) -> None:
    kind = words(thread, "type").casefold()
    writer = first(thread, "createdBy", "created_by")
    side = WRITERS.get(words(writer, "type")) if kind in CHATS else SAID.get(kind)
    action = first(thread, "action.type", "actionType")
    automatic = text(action).casefold() == "workflow" or words(thread, "source.via").casefold() == "workflow"
    sent = words(thread, "state").casefold() in ("published", "")
    conversation.say(
        words(thread, "body", "text"),
        None if automatic else side,
        sent,
        first(thread, "createdAt", "created_at"),
    )
    for person in (writer, thread.get("customer"), thread.get("assignedTo")):
        _person(conversation, person)


def _conversation(document: Document) -> Conversation:
    tags = [words(tag, "tag", "name") for tag in document.get("tags") or [] if isinstance(tag, dict)]
    found = Conversation(
        id=words(document, "number", "id"),
        subject=words(document, "subject"),
        label=words(document, "topic", "category") or (tags[0] if tags else ""),
        status=words(document, "status"),
        created=first(document, "createdat"),
    )
    for name in ("primarycustomer", "customer", "assignee", "createdby"):
        _person(found, document.get(name))
    threads = at(document.get("embedded"), "threads")
    for thread in entries(
        decoded(document.get("threads") if threads is None else threads), "threads", "_embedded", "items"
    ):
        _thread(found, thread)
    return found


LAYOUTS = (
    Layout(
        "help scout conversation",
        lambda names: 3 + sum(name in names for name in SIGNS) if has(names, ("embedded", "threads"), SIGNS[:6]) else 0,
        _conversation,
    ),
)
