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
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import Read
from pipeline.read.conversations.conversation import Conversation, Message, Side
from pipeline.read.conversations.join import Place, Told
from pipeline.read.conversations.transcript import likely, split, spoken
from pipeline.read.helpdesks.layout import Columns, Layout
from pipeline.read.helpdesks.translations import RESOLVED
from pipeline.read.rows import Row, parse_time, people
from pipeline.read.tables.csvfile import Record
from pipeline.read.text import Cleaned, clean, field_text, joined, summed, to_text
from pipeline.read.text.markup import plain
from pipeline.read.text.numbers import number
from pipeline.read.ticket import rows as ticket_rows
from pipeline.screen.quality import boilerplate

DONE = RESOLVED | {"4", "5", "done", "complete", "completed", "archived", "fertig"}
FORMS = ("%d/%b/%y %I:%M %p", "%d/%b/%y %H:%M", "%d/%b/%Y %H:%M", "%b %d, %Y, %I:%M:%S %p", "%Y-%m-%d %I:%M:%S %p")
HOLDING = re.compile(  # a whole answer that answers nothing yet
    r"(?:(?:hello|hi|hey|hallo|guten (?:tag|morgen|abend)|moin)\b"
    r"(?:(?-i: [A-ZÄÖÜ][\w.-]{0,20}){1,3}| \w{1,20})?[,.!]*\s*)?"
    r"(?:(?:hier ist|mein name ist|this is|my name is|i am|i'm)\s[\w .-]{1,30}[,.!]*\s*)?"
    r"(?:(?:(?:one|just a|einen|ein) )?(?:kleinen )?(?:moment|augenblick|second)(?:,? (?:please|bitte))?[,.!]*\s*)?"
    r"(?:(?:please hold|bitte warten(?: sie)?|(?:ich|wir) (?:schaue?n?|sehe?n?|prüfen?|kümmer[en]*)\b[^\n.?:\d]{0,40}|"
    r"(?:let me|i will|i'll|we will|we'll) (?:check|look|take a look|have a look|see)\b[^\n.?:\d]{0,40}|"
    r"how (?:can|may) (?:i|we) help(?: you)?(?: today)?|"
    r"(?:wie|womit) (?:kann|darf|können) (?:ich|wir) (?:dir |ihnen |euch )?(?:heute )?(?:weiter)?helfen)[,.!?]*\s*)?",
    re.IGNORECASE,
)
HOLDING_LONG = 160  # characters; a longer answer says something
TOGETHER = 500  # conversations looked at together
TEXT_TOGETHER = 4 << 20  # or fewer, if they have more characters
EARLIER = 30  # messages that a quote is looked for in
SAME = 200  # letters by which two texts are compared


@dataclass(frozen=True, slots=True)
class Said:
    """A message on its way into a row."""

    side: Side
    raw: str
    cleaned: Cleaned

    @property
    def text(self) -> str:
        return self.cleaned.text


@dataclass(slots=True)
class Talk:
    """A conversation on its way into a row."""

    place: Place
    conversation: Conversation
    complete: bool  # every message that the export holds is public, and by somebody known
    speakers: list[str]  # of chats' transcripts in it
    said: list[Said]


def rows(documents: Iterable[Told], settings: Read) -> Iterator[Row]:
    """Makes a row of every conversation, in order; None is a damaged document."""
    return _together(
        (
            Row(place[1], readable=False, path=place[0])
            if conversation is None
            else _talk(place, conversation, settings)
            for place, conversation in documents
        ),
        settings,
    )


def row(line: int, conversation: Conversation, settings: Read) -> Row:
    """Returns the row of a conversation."""
    return next(rows([(("", line), conversation)], settings))


def _talk(place: Place, conversation: Conversation, settings: Read) -> Talk:
    sides = conversation.sides(settings.unmarked == "public")
    texts, speakers = _texts(conversation, _ordered(sides))
    complete = len(sides) == len(conversation.messages)
    return Talk(place, conversation, complete, speakers, _cleaned(conversation, texts))


def _together(talks: Iterable[Talk | Row], settings: Read) -> Iterator[Row]:
    """Makes rows of conversations, many at a time: what machines wrote is found in a batch of texts at once."""
    waiting: list[Talk | Row] = []
    size = 0
    for talk in talks:
        waiting.append(talk)
        size += sum(len(one.raw) for one in talk.said) if isinstance(talk, Talk) else 0
        if len(waiting) == TOGETHER or size > TEXT_TOGETHER:
            yield from _made(waiting, settings)
            waiting, size = [], 0
    yield from _made(waiting, settings)


def _made(talks: list[Talk | Row], settings: Read) -> Iterator[Row]:
    machines = iter(_by_machines([one for talk in talks if isinstance(talk, Talk) for one in talk.said]))
    for talk in talks:
        if isinstance(talk, Talk):
            yield _row(talk, [one for one in talk.said if not next(machines)], settings)
        else:
            yield talk


def table_rows(layout: Layout, records: Iterable[Record], columns: Columns, settings: Read) -> Iterator[Row]:
    """Makes a row of every record of a ticket table; one whose question is a chat's transcript is a conversation."""
    return _together(_tickets(layout, records, columns, settings), settings)


def _tickets(layout: Layout, records: Iterable[Record], columns: Columns, settings: Read) -> Iterator[Talk | Row]:
    others = [at for at in (*columns.names, *columns.emails) if at not in columns.desk]
    asked = columns.at["description"]
    for line, fields in records:
        if fields is not None and asked is not None and likely(fields[asked], [fields[at] for at in others]):
            chat = Conversation(
                opening=fields[asked],
                customers=[fields[at] for at in others],
                agents=[fields[at] for at in columns.desk],
                names=[fields[at] for at in columns.names],
                emails=[fields[at] for at in columns.emails],
                phones=[fields[at] for at in columns.phones],
            )
            if _chat(chat, {role: "" if at is None else fields[at] for role, at in columns.at.items()}):
                yield _talk(("", line), chat, settings)
                continue
        yield from ticket_rows(layout, ((line, fields),), columns)


def _chat(chat: Conversation, text: dict[str, str]) -> bool:
    """Tells whether a ticket's question is a transcript, and then adds what else the ticket says, by role."""
    said = split(plain(chat.opening), chat.customers, chat.agents)
    if said is None:
        return False
    answer = spoken(plain(text["answer"]))
    if not any(_same(_squeezed(answer), _squeezed(line)) for _, line in said.turns):
        chat.say(answer, "agent", True)
    chat.id, chat.label, chat.status, chat.created = text["id"], text["label"], text["status"], text["created"]
    return True


def _row(talk: Talk, said: list[Said], settings: Read) -> Row:
    conversation, speakers = talk.conversation, talk.speakers
    turns = _turns(said) if settings.conversations == "turns" else _first(said)
    # A chat's subject is made by the chat, and one above an agent's first words is not the customer's.
    subject = [conversation.subject] if turns and said[0].side == "customer" and not speakers else []
    whole = [
        joined(*(to_text(text) for text in subject if not at), *(one.cleaned for one in turn))
        for at, turn in enumerate(turns)
    ]
    prompt, response, *later = [*(one.text for one in whole), "", ""][: max(2, len(whole))]
    status = conversation.status.strip().casefold()
    times = (moment(value) for value in (conversation.created, *(message.time for message in conversation.messages)))
    known = (conversation.names + speakers, conversation.emails, conversation.phones)
    raw = [*subject, *(one.raw for turn in turns for one in turn)]
    return Row(
        talk.place[1],
        prompt,
        response,
        source_id=number(conversation.id),
        label=field_text(conversation.label) or None,
        created_at=next(filter(None, times), None),
        resolved=status in DONE if status else None,
        entities=people(*(tuple(map(field_text, values)) for values in known)),
        characters=sum(map(len, raw)) + sum(one.added for one in whole),
        removed=summed(*whole),
        later=tuple(later),
        refused="" if len(turns) > 1 or talk.complete else "unmarked",
        path=talk.place[0],
    )


def _squeezed(text: str) -> str:
    return re.sub(r"\W+", "", plain(text))[:SAME].casefold()


def _same(one: str, other: str) -> bool:
    """Tells whether one of two squeezed texts is the beginning of the other: an export may cut its copy short."""
    return bool(one and other) and (one.startswith(other) or other.startswith(one))


def _ordered(said: list[tuple[Side, Message]]) -> list[tuple[Side, str]]:
    """Returns messages by their time; one without a time follows the one it comes after."""
    last = datetime.min.replace(tzinfo=UTC)
    keys = []
    for _, message in said:
        last = moment(message.time) or last
        keys.append(last)
    return [(said[at][0], said[at][1].text) for at in sorted(range(len(said)), key=keys.__getitem__)]


def _texts(conversation: Conversation, texts: list[tuple[Side, str]]) -> tuple[list[tuple[Side, str]], list[str]]:
    """Returns who said what, the ticket's own question first, and who speaks in transcripts of chats among it."""
    opening = _squeezed(conversation.opening)
    if opening and not any(_same(opening, _squeezed(text)) for _, text in texts):
        texts = [("customer", conversation.opening), *texts]
    found: list[tuple[Side, str]] = []
    speakers: list[str] = []
    for side, text in texts:
        said = None
        if likely(text, conversation.customers):
            said = split(plain(text), conversation.customers, conversation.agents)
        if said is None:
            found.append((side, text))
        else:
            found += said.turns
            speakers += said.speakers
    return found, speakers


def _cleaned(conversation: Conversation, texts: list[tuple[Side, str]]) -> list[Said]:
    """Returns each side's own words; what is quoted is looked for in what was said before. Nothing without words."""
    desk, customers = conversation.agents, conversation.customers
    earlier = [conversation.subject] if conversation.subject else []
    found = []
    for side, raw in texts:
        found.append(Said(side, raw, clean(raw, side, earlier, desk, customers)))
        earlier = [*earlier[-EARLIER:], raw]
    return [said for said in found if said.text and not said.text.isspace()]


def _by_machines(said: list[Said]) -> list[bool]:
    """Tells what machines wrote in a person's name: receipts, bounces, absences, notes of the ticket system."""
    if not said:
        return []
    texts = pa.array([one.text for one in said], pa.string())
    machine = boilerplate.bounces(texts) | boilerplate.auto_replies(texts) | boilerplate.system_messages(texts)
    receipt = boilerplate.receipts(texts, ()) & np.array([one.side == "agent" for one in said])
    return [bool(found) for found in machine | receipt]


def _turns(said: list[Said]) -> list[list[Said]]:
    """Returns customer and agent by turns, from the customer's first message to the agent's last."""
    turns = [list(group) for _, group in groupby(said, lambda one: one.side)]
    turns = turns[1:] if turns and turns[0][0].side == "agent" else turns
    if len(turns) > 1 and turns[-1][0].side == "customer":
        turns.pop()
    return turns


def _first(said: list[Said]) -> list[list[Said]]:
    """Returns what the customer wrote before anybody answered, and the first answer that says something."""
    start = next((at for at, one in enumerate(said) if one.side == "customer"), len(said))
    rest = next((at for at, one in enumerate(said[start:], start) if one.side == "agent"), len(said))
    answer = next((one for one in said[rest:] if one.side == "agent" and not holding(one.text)), None)
    asked = said[start:rest]
    return [] if not asked else [asked] if answer is None else [asked, [answer]]


def holding(text: str) -> bool:
    """Tells whether an answer only greets, or says that somebody is looking into it."""
    return len(text) <= HOLDING_LONG and HOLDING.fullmatch(text) is not None


def moment(value: Any) -> datetime | None:
    """Returns a time in UTC: seconds or milliseconds since 1970, ISO 8601, and what products write."""
    if isinstance(value, datetime):
        value = value.isoformat()
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
