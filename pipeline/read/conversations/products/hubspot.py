"""HubSpot: threads of the conversations inbox with their messages, messages alone, and logged e-mails.

Output contract: `LAYOUTS`. A message counts if its type is MESSAGE: COMMENT is the internal one, the other types are
events. An outgoing message counts if an agent's actor id (`A-`) or none sent it: bots (`B-`), systems and integrations
are left out. Logged e-mails (`hs_email_direction`) are joined by their ticket or thread.
Format: HubSpot's API reference, "Conversations: inbox and messages" and "Engagements: email".
"""

from __future__ import annotations

from pipeline.read.conversations.conversation import Conversation, Layout, Side, has, part_of
from pipeline.read.conversations.document import (
    Document,
    at,
    decoded,
    entries,
    first,
    folded,
    several,
    words,
)

THREAD = (
    "associatedcontactid", "originalchannelid", "originalchannelaccountid", "latestmessagereceivedtimestamp",
    "latestmessagesenttimestamp", "latestmessagetimestamp", "threadassociations", "associatedticketid",
)  # fmt: skip
PEOPLE = ("A-", "V-", "E-", "L-")  # agents, visitors, e-mail addresses, leads


def _message(conversation: Conversation, message: Document) -> None:
    senders = entries(message.get("senders"))
    actor = words(message, "createdBy", "createdby") or (words(senders[0], "actorId") if senders else "")
    direction = words(message, "direction").upper()
    side: Side | None = "customer" if direction == "INCOMING" else "agent" if direction == "OUTGOING" else None
    if actor and not actor.startswith(PEOPLE):
        side = None
    failed = words(message, "status.statusType").upper() == "FAILED"
    conversation.say(
        words(message, "richText", "richtext", "text"),
        side,
        words(message, "type").upper() == "MESSAGE" and not failed,
        first(message, "createdAt", "createdat"),
        actor,
    )
    conversation.subject = conversation.subject or words(message, "subject")
    for person in senders + entries(message.get("recipients")):
        conversation.names += several([person.get("name")])
        address = words(person, "deliveryIdentifier.value")
        kind = words(person, "deliveryIdentifier.type")
        (conversation.phones if "PHONE" in kind else conversation.emails).extend(several([address]))


def _thread(document: Document) -> Conversation:
    found = Conversation(
        id=words(document, "id", "threadid"),
        subject=words(document, "subject"),
        label=words(document, "topic", "category"),
        status=words(document, "status"),
        created=first(document, "createdat"),
    )
    for message in entries(decoded(document.get("messages")), "results", "messages"):
        _message(found, message)
    return found


def _single(document: Document) -> Conversation:
    """A message of the inbox in a file of its own."""
    found = part_of(words(document, "conversationsthreadid"), "a message without its thread")
    _message(found, document)
    return found


def _email(document: Document) -> Conversation:
    """An e-mail that was logged on a ticket: its properties, or a record with them as columns."""
    properties = document.get("properties")
    email = {**document, **folded(properties)} if isinstance(properties, dict) else document
    key = words(email, "ticketid", "hsticketid", "associatedticketid", "associatedticketids", "hsemailthreadid")
    found = part_of(key, "an e-mail without its ticket or thread")
    found.subject = words(email, "hsemailsubject")
    direction = words(email, "hsemaildirection").upper()
    side: Side | None = {"INCOMING_EMAIL": "customer", "EMAIL": "agent"}.get(direction)  # type: ignore[assignment]
    sent = words(email, "hsemailstatus").upper() not in ("FAILED", "BOUNCED", "SCHEDULED", "DRAFT")
    found.say(words(email, "hsemailhtml", "hsemailtext"), side, sent, first(email, "hstimestamp", "createdat"))
    found.names += several([" ".join(several([email.get("hsemailfromfirstname"), email.get("hsemailfromlastname")]))])
    found.emails += several([email.get("hsemailfromemail"), at(email, "hsemailtoemail")])
    return found


LAYOUTS = (
    Layout(
        "hubspot conversation",
        lambda names: 2 + sum(name in names for name in THREAD) if has(names, "messages", THREAD) else 0,
        _thread,
    ),
    Layout(
        "hubspot messages",
        lambda names: 6 if has(names, "conversationsthreadid", ("text", "richtext")) else 0,
        _single,
        joined="hubspot",
    ),
    Layout(
        "hubspot e-mails",
        lambda names: 6 if has(names, "hsemaildirection") else 0,
        _email,
        joined="hubspot e-mails",
    ),
)
