"""Conversations of any export, as `messages` of the configuration describes them.

Output contract: `layout` makes a `Layout` of a mapping; it reads documents under their own names. `check` raises
`InputError` where the first documents have nothing at a mapped path. A message whose field of visibility is missing or
is neither true nor false is not public.
This module knows no product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.config import Messages
from pipeline.errors import InputError
from pipeline.read.conversations.conversation import BY_AUTHOR, Conversation, Layout, Side
from pipeline.read.conversations.document import Document, ShapeError, at, decoded, entries, flag, several, text


def _public(message: Document, mapping: Messages) -> bool | None:
    if mapping.public is True:
        return True
    if mapping.public is not None:
        return flag(at(message, mapping.public))
    internal = flag(at(message, mapping.internal or ""))
    return None if internal is None else not internal


def _say(found: Conversation, message: Document, mapping: Messages) -> None:
    author = text(at(message, mapping.author)).strip()
    side: Any = BY_AUTHOR if mapping.requester else _side(author, mapping)
    time = at(message, mapping.time) if mapping.time else None
    found.say(text(at(message, mapping.body)), side, _public(message, mapping), time, author)


def _side(author: str, mapping: Messages) -> Side | None:
    low = author.casefold()
    if low in map(str.casefold, mapping.customer):
        return "customer"
    return "agent" if low in map(str.casefold, mapping.agent) else None


def _people(places: Sequence[Document], paths: Sequence[str]) -> list[str]:
    return several([at(place, path) for place in places for path in paths])


def _read(document: Document, mapping: Messages) -> Conversation:
    def single(path: str | None) -> str:
        return text(at(document, path)) if path else ""

    found = Conversation(
        id=single(mapping.source_id),
        subject=single(mapping.subject),
        label=single(mapping.label),
        status=single(mapping.status),
        created=at(document, mapping.created_at) if mapping.created_at else None,
        customers=several([single(mapping.requester)]),
        others="agent" if mapping.requester and single(mapping.requester) else None,
    )
    messages: Sequence[Document] = [document]
    if mapping.path is None:
        found.key = found.id
        if not found.key:
            raise ShapeError("a message without its conversation")
    else:
        messages = entries(decoded(at(document, mapping.path)))
    for message in messages:
        _say(found, message, mapping)
    places = [document, *messages] if mapping.path else messages
    found.names = _people(places, mapping.names)
    found.emails = _people(places, mapping.emails)
    found.phones = _people(places, mapping.phones)
    return found


def layout(mapping: Messages) -> Layout:
    """Returns the layout that a mapping describes; without a path, rows are joined by `source_id`."""
    joined = "" if mapping.path else "messages"
    return Layout("messages", lambda names: 0, lambda document: _read(document, mapping), joined, folds=False)


def check_names(mapping: Messages, names: Sequence[str], path: str) -> None:
    """Raises `InputError` where records with these names have no place for messages."""
    wanted = mapping.path or mapping.body
    if wanted not in names and wanted.partition(".")[0] not in names:
        what = "path" if mapping.path else "body"
        shown = ", ".join(f"`{name[:40]}`" for name in names[:40])
        raise InputError(f"{path} has nothing called `{wanted}` (messages.{what}); its columns are {shown}")


def check(mapping: Messages, documents: Sequence[Document], path: str) -> None:
    """Raises `InputError` where a path of the mapping leads nowhere in any of the first documents of a file."""
    messages: list[Document] = []
    for document in documents:
        try:
            messages += entries(decoded(at(document, mapping.path))) if mapping.path else [document]
        except ShapeError:
            continue
    if documents and not messages:
        raise InputError(
            f"{path}: `{mapping.path}` (messages.path) is no list of messages in any of the first {len(documents)} rows"
        )
    beside = ("requester", "subject", "source_id", "label", "created_at", "status")
    within = ("body", "author", "public", "internal", "time")
    for names, places in ((beside, documents), (within, messages)):
        for name in names:
            where = getattr(mapping, name)
            if isinstance(where, str) and places and all(at(place, where) is None for place in places):
                raise InputError(
                    f"{path}: nothing is at `{where}` (messages.{name}) in the first {len(documents)} rows"
                )
