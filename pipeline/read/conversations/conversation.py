"""A conversation between a customer and a company, whatever product it comes from.

Output contract: `Conversation.say` is the only way in for a message. A note, and what no person wrote, is gone there:
no internal note is ever held, so none can reach a row, a temporary file or a log. `sides` is the only way out: it
settles who spoke, once all of the conversation is known, and gives a message that its export does not call public only
to who says that there are no internal ones among such messages. Times stay as the export writes them.
This module makes no rows and cleans no text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.read.conversations.document import Document, ShapeError, folded, record
from pipeline.read.text.numbers import number

Side = Literal["customer", "agent"]
BY_AUTHOR: Literal["by author"] = "by author"  # the author's side is known once the whole conversation is


@dataclass(slots=True)
class Message:
    """What a person said, in public or (`marked` False) in an export that does not tell. `time`: as in the export;
    `author`: how the export names or numbers who wrote it."""

    text: str
    side: Side | Literal["by author"]
    author: str
    time: Any
    marked: bool = True


@dataclass(slots=True)
class Conversation:
    """What one document, or several that are joined, tell of a conversation."""

    key: str = ""  # documents of one key are one conversation; "": this document is all
    id: str = ""
    subject: str = ""
    label: str = ""
    status: str = ""
    created: Any = None
    opening: str = ""  # the question as the ticket itself holds it, for exports whose messages begin after it
    messages: list[Message] = field(default_factory=list)
    customers: list[str] = field(default_factory=list)  # authors
    agents: list[str] = field(default_factory=list)
    others: Side | None = None  # the side of an author who is neither; None: such a message is left out
    names: list[str] = field(default_factory=list)
    emails: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)

    def say(
        self,
        text: str,
        side: Side | Literal["by author"] | None,
        public: bool | None,
        time: Any = None,
        author: str = "",
    ) -> None:
        """Adds a message. `side` None: a machine or nobody known wrote it; `public` None: the export does not say."""
        if side is not None and public is not False and text and not text.isspace():
            self.messages.append(Message(text, side, author, time, public is True))

    def join(self, other: Conversation) -> None:
        """Adds what another document tells of the same conversation."""
        for name in ("id", "subject", "label", "status", "created", "opening", "others"):
            if not getattr(self, name):
                setattr(self, name, getattr(other, name))
        for name in ("messages", "customers", "agents", "names", "emails", "phones"):
            getattr(self, name).extend(getattr(other, name))

    def sides(self, unmarked: bool = False) -> list[tuple[Side, Message]]:
        """Returns the messages with who spoke, in the export's order. What nobody known wrote is left out, and so is
        what the export does not call public, unless `unmarked` says that everything is."""
        known: dict[str, Side] = {number(author): "agent" for author in self.agents}
        known |= {number(author): "customer" for author in self.customers}
        found = ((self._side(message, known), message) for message in self.messages if message.marked or unmarked)
        return [(side, message) for side, message in found if side]

    def _side(self, message: Message, known: Mapping[str, Side]) -> Side | None:
        if message.side != BY_AUTHOR:
            return message.side
        return known.get(number(message.author), self.others) if message.author else None


def part_of(key: str, what: str) -> Conversation:
    """Returns a conversation that a message in a file of its own is joined with by a key; raises `ShapeError`, which
    says `what` it is, without one."""
    if not key:
        raise ShapeError(what)
    return Conversation(key=key, id=key)


@dataclass(frozen=True)
class Layout:
    """How a product writes conversations. `joined`: files with the same word here are joined by `Conversation.key`;
    `fits` returns how surely documents with these (folded) names are of this layout, 0 for not."""

    name: str
    fits: Callable[[frozenset[str]], int]
    read: Callable[[Document], Conversation]
    joined: str = ""
    messages: bool = True  # False: the side of a join that holds tickets without their messages
    needs_tickets: bool = False  # whether it means nothing without that side
    folds: bool = True  # whether documents come with folded names

    def of_documents(
        self, documents: Iterable[tuple[int, Document | None]]
    ) -> Iterator[tuple[int, Conversation | None]]:
        """Yields (line, conversation) of JSON objects under their own names; None where one is damaged."""
        for line, document in documents:
            try:
                found = None if document is None else self.read(folded(document) if self.folds else document)
            except ShapeError:
                found = None
            yield line, found

    def of_records(
        self, names: Sequence[str], records: Iterable[tuple[int, Sequence[str] | None]]
    ) -> Iterator[tuple[int, Conversation | None]]:
        """Yields (line, conversation) of a table's records; None where one is damaged."""
        for line, fields in records:
            try:
                found = None if fields is None else self.read(record(names, fields, self.folds))
            except ShapeError:
                found = None
            yield line, found


def has(names: frozenset[str], *groups: Iterable[str] | str) -> bool:
    """Tells whether each group has a name among `names`; a single name is a group of its own."""
    return all(not names.isdisjoint([group] if isinstance(group, str) else group) for group in groups)
