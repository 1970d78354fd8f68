"""Conversations into rows.

Output contract: a row per conversation. Its prompt is what the customer wrote before the first answer, its response the
first public answer of a person; with `conversations: turns`, `later` holds what follows, customer and agent by turns,
messages of one side in a row joined by a blank line, an agent's at the end. Automatic messages are no part of it; with
`conversations: first`, neither is an answer that only says that somebody is looking into it. Where no answer is left,
the row is refused as `empty_response`, or as `unmarked` where there may be one and the export does not call it public.
This module knows no product and no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import pyarrow as pa

from pipeline.config import Read
from pipeline.read.clean import answer_words, own_words
from pipeline.read.conversations.conversation import Conversation, Message, Side
from pipeline.read.conversations.join import Place
from pipeline.read.conversations.transcript import split
from pipeline.read.markup import plain
from pipeline.read.rows import RESOLVED, Row, parse_time, people
from pipeline.read.ticket import question
from pipeline.screen.quality import boilerplate

DONE = RESOLVED | {"4", "5", "done", "complete", "completed", "archived", "fertig"}
FORMS = ("%d/%b/%y %I:%M %p", "%d/%b/%y %H:%M", "%d/%b/%Y %H:%M", "%b %d, %Y, %I:%M:%S %p", "%Y-%m-%d %I:%M:%S %p")
HOLDING = re.compile(  # a whole answer that answers nothing yet
    r"(?:(?:hello|hi|hey|hallo|guten (?:tag|morgen|abend)|moin)\b[^\n.!?]{0,40}[,.!]*\s*)?"
    r"(?:(?:hier ist|mein name ist|this is|my name is|i am|i'm)\s[\w .-]{1,30}[,.!]*\s*)?"
    r"(?:(?:(?:one|just a|einen|ein) )?(?:kleinen )?(?:moment|augenblick|second)(?:,? (?:please|bitte))?[,.!]*\s*)?"
    r"(?:(?:please hold|bitte warten(?: sie)?|(?:ich|wir) (?:schaue?n?|sehe?n?|prüfen?|kümmer[en]*)\b[^\n.?:\d]{0,40}|"
    r"(?:let me|i will|i'll|we will|we'll) (?:check|look|take a look|have a look|see)\b[^\n.?:\d]{0,40}|"
    r"how (?:can|may) (?:i|we) help(?: you)?(?: today)?|(?:wie|womit) (?:kann|darf|können) (?:ich|wir) (?:dir|ihnen|euch )?"
    r"\s?(?:heute )?(?:weiter)?helfen)[,.!?]*\s*)?",
    re.IGNORECASE,
)
HOLDING_LONG = 160  # characters; a longer answer says something
SAME = 200  # letters by which two texts are compared


def rows(documents: Iterable[tuple[Place, Conversation | None]], settings: Read) -> Iterator[Row]:
    """Makes a row of every conversation; None is a damaged document."""
    for (_, line), conversation in documents:
        yield Row(line, readable=False) if conversation is None else row(line, conversation, settings)


def row(line: int, conversation: Conversation, settings: Read) -> Row:
    """Returns the row of a conversation."""
    trust = settings.unmarked == "public"
    spoken, chat = _spoken(conversation, trust)
    turns = _turns(spoken) if settings.conversations == "turns" else _first(spoken)
    if turns and spoken[0][0] == "customer" and not chat:  # a chat's subject is made by the chat
        turns[0] = question(plain(conversation.subject), turns[0])
    status = conversation.status.strip().casefold()
    times = (moment(value) for value in (conversation.created, *(message.time for message in conversation.messages)))
    answered = len(turns) > 1
    return Row(
        line,
        turns[0] if turns else "",
        turns[1] if answered else "",
        source_id=conversation.id,
        label=plain(conversation.label) or None,
        created_at=next(filter(None, times), None),
        resolved=status in DONE if status else None,
        entities=people(tuple(conversation.names), tuple(conversation.emails), tuple(conversation.phones)),
        later=tuple(turns[2:]),
        refused="" if answered or len(conversation.sides(trust)) == len(conversation.messages) else "unmarked",
    )


def _squeezed(text: str) -> str:
    return re.sub(r"\W+", "", plain(text))[:SAME].casefold()


def _same(one: str, other: str) -> bool:
    """Tells whether one of two squeezed texts is the beginning of the other: an export may cut its copy short."""
    return bool(one and other) and (one.startswith(other) or other.startswith(one))


def _spoken(conversation: Conversation, trust: bool) -> tuple[list[tuple[Side, str]], bool]:
    """Returns who said what, in order and in his own words, and whether a chat's transcript is among it."""
    said = _ordered(conversation.sides(trust))
    texts: list[tuple[Side, str]] = [(side, message.text) for side, message in said]
    opening = _squeezed(conversation.opening)
    if opening and not any(_same(opening, _squeezed(text)) for _, text in texts):
        texts.insert(0, ("customer", conversation.opening))
    spoken: list[tuple[Side, str]] = []
    chat = False
    for side, text in texts:
        lines = split(plain(text), conversation.customers, conversation.agents)
        chat = chat or lines is not None
        spoken += [(side, plain(text))] if lines is None else lines
    return _own(_by_people(spoken)), chat


def _ordered(said: list[tuple[Side, Message]]) -> list[tuple[Side, Message]]:
    """Sorts messages by time; one without a time follows the one it comes after."""
    last = datetime.min.replace(tzinfo=UTC)
    keys = []
    for _, message in said:
        last = moment(message.time) or last
        keys.append(last)
    return [said[at] for at in sorted(range(len(said)), key=keys.__getitem__)]


def _by_people(spoken: list[tuple[Side, str]]) -> list[tuple[Side, str]]:
    """Leaves out what machines wrote in a person's name: receipts, bounces, absences, notes of the ticket system."""
    texts = pa.array([text for _, text in spoken], pa.string())
    machine = boilerplate.bounces(texts) | boilerplate.auto_replies(texts) | boilerplate.system_messages(texts)
    receipt = boilerplate.receipts(texts, ())
    return [
        one
        for one, automatic, confirms in zip(spoken, machine, receipt, strict=True)
        if not automatic and not (confirms and one[0] == "agent")
    ]


def _own(spoken: list[tuple[Side, str]]) -> list[tuple[Side, str]]:
    """Returns each side's own words; a message without any is left out."""
    own = [(side, own_words(text) if side == "customer" else answer_words(text)) for side, text in spoken]
    return [(side, text) for side, text in own if text and not text.isspace()]


def _turns(spoken: list[tuple[Side, str]]) -> list[str]:
    """Returns the texts of customer and agent by turns, from the customer's first to the agent's last."""
    turns = [(side, "\n\n".join(text for _, text in group)) for side, group in groupby(spoken, lambda one: one[0])]
    turns = turns[1:] if turns and turns[0][0] == "agent" else turns
    if len(turns) > 1 and turns[-1][0] == "customer":
        turns.pop()
    return [text for _, text in turns]


def _first(spoken: list[tuple[Side, str]]) -> list[str]:
    """Returns what the customer wrote before anybody answered, and the first answer that says something."""
    start = next((at for at, (side, _) in enumerate(spoken) if side == "customer"), len(spoken))
    rest = next((at for at, (side, _) in enumerate(spoken[start:], start) if side == "agent"), len(spoken))
    asked = "\n\n".join(text for _, text in spoken[start:rest])
    answers = (text for side, text in spoken[rest:] if side == "agent" and not holding(text))
    answer = next(answers, None)
    return [] if not asked else [asked] if answer is None else [asked, answer]


def holding(text: str) -> bool:
    """Tells whether an answer only greets, or says that somebody is looking into it."""
    return len(text) <= HOLDING_LONG and HOLDING.fullmatch(text) is not None


def moment(value: Any) -> datetime | None:
    """Returns a time in UTC: seconds or milliseconds since 1970, ISO 8601, and what products write."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
        except (ValueError, OverflowError, OSError):
            return None
    if not isinstance(value, str) or not value.strip():
        return None
    if found := parse_time(value):
        return found
    if re.fullmatch(r"\d{10}(?:\d{3})?(?:\.\d+)?", value.strip()):
        return moment(float(value))
    for form in FORMS:
        try:
            return datetime.strptime(value.strip(), form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
