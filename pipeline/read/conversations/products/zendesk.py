"""Zendesk: tickets with their comments, and tickets and comments in files of their own.

Output contract: `LAYOUTS`. Tickets with `comments` come from the JSON export of Admin Center (one ticket per line) and
from scripts around the incremental export; comments alone from the comments API or a CSV made of it (`ticket_id`,
`author_id`, `public`, a body); ticket events from the incremental event export with `comment_events`. A comment counts
if `public` is true. Zendesk's own voice (author -1, triggers, automations) is left out.
Format: Zendesk's API reference, "Ticket comments" and "Incremental exports".
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.read.conversations.conversation import BY_AUTHOR, Conversation, Layout, Side, has, part_of
from pipeline.read.conversations.document import (
    Document,
    at,
    decoded,
    entries,
    first,
    flag,
    folded,
    several,
    text,
    unfolded,
    words,
)
from pipeline.read.text.markup import plain

TICKET = (
    "requesterid", "requester", "assigneeid", "assignee", "submitterid", "submitter", "brandid", "ticketformid",
    "emailccids", "followerids", "satisfactionrating", "rawsubject", "hasincidents", "problemid",
)  # fmt: skip
BODY = ("plain_body", "html_body", "body")
MACHINES = frozenset(
    {"rule", "trigger", "automation", "system", "system_merge", "bot", "answer_bot", "answer_bot_for_agents"}
)
ROLES: dict[str, Side] = {"end-user": "customer", "end_user": "customer", "agent": "agent", "admin": "agent"}


def _person(conversation: Conversation, person: Any, side: Side | None) -> None:
    """Notes how a user may be called in comments, and the personal data on them."""
    if not isinstance(person, dict):
        return
    side = ROLES.get(words(person, "role").casefold(), side) if first(person, "role") else side
    if side:
        called = several([person.get("id"), person.get("name"), person.get("email")])
        (conversation.customers if side == "customer" else conversation.agents).extend(called)
    conversation.names += several([person.get("name"), person.get("alias")])
    conversation.emails += several([person.get("email")])
    conversation.phones += several([person.get("phone")])


def _comment(conversation: Conversation, comment: Document) -> None:
    """Adds a comment of a ticket."""
    author = comment.get("author")
    number = words(comment, "author_id") or (words(author, "id", "email", "name") if isinstance(author, dict) else "")
    _person(conversation, author, None)
    role = (words(comment, "author_role") or words(author, "role")).casefold()
    machine = (
        number.startswith("-") or words(comment, "via.channel").casefold() in MACHINES or role in ("system", "bot")
    )
    conversation.say(
        words(comment, *BODY),
        None if machine else ROLES.get(role, BY_AUTHOR),
        flag(comment.get("public")),
        first(comment, "created_at", "timestamp"),
        number,
    )


def _head(ticket: Document) -> Conversation:
    """Returns what a ticket tells without its comments."""
    found = Conversation(
        key=words(ticket, "id", "ticketid"),
        id=words(ticket, "id", "ticketid"),
        subject=words(ticket, "subject", "rawsubject"),
        label=words(ticket, "topic", "category", "type", "tickettype"),
        status=words(ticket, "status"),
        created=first(ticket, "createdat"),
        customers=several(
            [ticket.get("requesterid"), *_listed(ticket, "emailccids"), *_listed(ticket, "collaboratorids")]
        ),
        agents=several([ticket.get("assigneeid"), *_listed(ticket, "followerids")]),
        others="agent",  # Zendesk lets nobody else write: the requester, who is in copy, and agents
    )
    # An agent in copy is among the collaborators, too.
    found.customers = [number for number in found.customers if number not in found.agents]
    for name, side in (("requester", "customer"), ("assignee", "agent"), ("submitter", None)):
        person = ticket.get(name)
        if isinstance(person, str):
            found.names.append(person)
        _person(found, person, side)  # type: ignore[arg-type]
    found.emails += several([ticket.get("requesteremail"), ticket.get("assigneeemail")])
    found.phones += several([ticket.get("requesterphone")])
    for user in entries(ticket.get("users")):
        _person(found, user, None)
    return found


def _listed(ticket: Document, name: str) -> list[Any]:
    value = decoded(ticket.get(name))
    return value if isinstance(value, list) else [value]


def _ticket(document: Document) -> Conversation:
    if isinstance(document.get("ticket"), dict):  # one ticket of the API, its comments and users beside it
        document = {**document, **folded(document["ticket"])}
    found = _head(document)
    comments = entries(decoded(document.get("comments")), "comments", "results")
    for comment in comments:
        _comment(found, comment)
    # The description is the first comment, private ones included: it is the question only where no comment repeats it.
    description = text(document.get("description"))
    private = bool(comments) and flag(comments[0].get("public")) is False
    if flag(document.get("ispublic")) is not False and not private and not _among(description, comments):
        found.opening = description
    return found


def _among(description: str, comments: list[Document]) -> bool:
    letters = _letters(description)
    return any(_letters(text(comment.get(name))) == letters for comment in comments for name in BODY)


def _letters(body: str) -> str:
    """Returns what a body has in common as text and as HTML."""
    return "".join(re.findall(r"\w+", plain(body)))


def _single(document: Document) -> Conversation:
    """A comment in a file of its own: a line of the comments API, or a record of a CSV."""
    found = part_of(words(document, "ticketid"), "a comment without its ticket")
    comment = unfolded(document, "author_id", "html_body", "plain_body", "created_at")
    comment["author_role"] = first(document, "authorrole", "role")
    if isinstance(comment.get("via"), str):
        comment["via"] = (
            {"channel": comment["via"]} if not str(comment["via"]).startswith("{") else decoded(comment["via"])
        )
    found.names += several([document.get("authorname")])
    found.emails += several([document.get("authoremail")])
    _comment(found, comment)
    return found


def _event(document: Document) -> Conversation:
    """A ticket event: its comments are among the child events."""
    found = Conversation(key=words(document, "ticketid"), id=words(document, "ticketid"))
    for child in entries(first(document, "childevents", "events")):
        if words(child, "event_type", "type") == "Comment":
            _comment(found, {"via": at(document, "via"), "author_id": document.get("updaterid"), **child})
    return found


def _alone(names: frozenset[str]) -> int:
    signs = sum(name in names for name in TICKET)
    return signs if has(names, "id", ("subject", "rawsubject")) and "comments" not in names and signs >= 2 else 0


LAYOUTS = (
    Layout(
        "zendesk conversation",
        lambda names: 2 + sum(name in names for name in TICKET) if has(names, "comments", ("ticket", *TICKET)) else 0,
        _ticket,
    ),
    Layout(
        "zendesk comments",
        lambda names: (
            4 if has(names, "ticketid", "public", ("authorid", "authorrole"), ("body", "plainbody", "htmlbody")) else 0
        ),
        _single,
        joined="zendesk",
        needs_tickets=True,
    ),
    Layout(
        "zendesk events",
        lambda names: 3 if has(names, "ticketid", ("childevents", "events")) else 0,
        _event,
        joined="zendesk",
        needs_tickets=True,
    ),
    Layout("zendesk tickets", _alone, _head, joined="zendesk", messages=False),
)
