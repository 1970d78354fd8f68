"""One message as its author wrote it, and what was removed from it, by kind: the one place that counts.

Output contract: `clean` gives a text and `removed`, with `len(raw) == len(text) + sum(removed.values())` for every
input. A count below zero says that a step made the text longer; a kind with the count 0 is there where a step changed
the text and not its length. No cut empties a text, or leaves nothing of it but a greeting.
This module does not look for personal data, and cuts nothing itself: the modules beside it do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from pipeline.read.text.characters import has, is_western, mended, tidy, unescaped, visible
from pipeline.read.text.evidence import Ticket
from pipeline.read.text.footers import FOOTER_SIGNS, cut_footers
from pipeline.read.text.markup import INDENTED, QUOTED, SIGNS, marked, unmarked, without_signs
from pipeline.read.text.quotes import QUOTE_SIGNS, cut_quotes
from pipeline.read.text.signatures import APP_SIGNS, SIGNATURE_SIGNS, cut_app_lines, cut_signature, says_something

Side = Literal["customer", "agent"]
KINDS = ("quote", "signature", "footer", "markup", "escape", "encoding", "whitespace", "repeated")
PASSES = 20  # a mail has two or three layers; a megabyte of signatures shall not take as many passes as it has


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A cleaned text; `removed`: characters by kind of `KINDS`, only the kinds that occurred; `added`: by joining."""

    text: str
    removed: Mapping[str, int] = field(default_factory=dict)
    added: int = 0


def summed(*parts: Cleaned) -> dict[str, int]:
    """Returns what was removed from several texts, by kind."""
    removed: dict[str, int] = {}
    for part in parts:
        for kind, count in part.removed.items():
            removed[kind] = removed.get(kind, 0) + count
    return removed


def joined(*parts: Cleaned) -> Cleaned:
    """Returns texts as one, a blank line between them: characters read + added = kept + removed. A first text that the
    second begins with (a subject) is not said twice: `repeated`."""
    removed = summed(*parts)
    texts = [part.text for part in parts if part.text]
    if len(texts) > 1 and _begins(texts[1], texts[0]):
        removed["repeated"] = removed.get("repeated", 0) + len(texts.pop(0))
    text = "\n\n".join(texts)
    return Cleaned(text, removed, len(text) - sum(map(len, texts)))


def _begins(text: str, beginning: str) -> bool:
    alike = text[0].casefold()[0] == beginning[0].casefold()[0]  # spares folding nearly all
    return alike and text.casefold().startswith(beginning.casefold())


class _Counter:
    """A text on its way, and what each step has taken from it."""

    def __init__(self, raw: str) -> None:
        self.text = raw if raw.isascii() or is_western(raw) or not has(raw, SIGNS) else without_signs(raw)
        self.removed: dict[str, int] = {} if self.text is raw else {"encoding": len(raw) - len(self.text)}

    def set(self, kind: str, text: str) -> None:
        """Takes over what a step made of the text; marks of quotations are no characters of it."""
        if text is not self.text and text != self.text:
            self.removed[kind] = self.removed.get(kind, 0) + _size(self.text) - _size(text)
            self.text = text

    def cut(self, kind: str, cut: Callable[[list[str]], Sequence[str]]) -> None:
        """Makes a cut, unless it would leave nothing to speak of."""
        lines = self.text.split("\n")
        kept = cut(lines)
        if kept == lines:
            return
        text = tidy("\n".join(kept))
        if unmarked(text) and (says_something(kept) or not says_something(lines)):
            self.set(kind, text)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text) - text.count(QUOTED) - text.count(INDENTED)


def clean(
    raw: str, side: Side, earlier: Sequence[str] = (), desk: Sequence[str] = (), customers: Sequence[str] = ()
) -> Cleaned:
    """Returns what the author of one message wrote in it.

    `raw`: the message as the export has it, HTML or plain text. `side`: who wrote it; a customer's signature goes, an
    agent's stays. `earlier`: the ticket's texts from before this message, raw, subject included: what repeats one of
    them below a header block or behind `>` is a quote. Never pass later texts, or two messages could each lose what the
    other keeps. `desk`, `customers`: names and addresses known to belong to either side; they tell an answer that is
    quoted from a mail that is passed on.
    """
    counter = _Counter(raw)
    _to_text(counter)
    low = "\n" + counter.text.lower()
    for _ in range(PASSES):
        before = counter.text
        if has(low, QUOTE_SIGNS):
            ticket = Ticket(side == "agent", tuple(earlier), tuple(desk), tuple(customers))
            counter.cut("quote", partial(cut_quotes, low=low, ticket=ticket))
        if has(low, APP_SIGNS):
            counter.cut("signature", cut_app_lines)
        if side == "customer" and has(low, SIGNATURE_SIGNS):
            counter.cut("signature", cut_signature)
        if has(low, FOOTER_SIGNS):
            counter.cut("footer", cut_footers)
        if counter.text == before:  # else again: above a footer there may be another signature
            break
        low = "\n" + counter.text.lower()
    return Cleaned(unmarked(counter.text) if "<" in raw else counter.text, counter.removed)


def _is_simple(raw: str) -> bool:
    return raw.isascii() and not ("&" in raw or "<" in raw or "\\" in raw or "\n" in raw or "\r" in raw or "_x" in raw)


def field_text(raw: str) -> str:
    """Returns a short field, such as a name, as plain text."""
    return raw.strip() if _is_simple(raw) else to_text(raw).text


def to_text(raw: str) -> Cleaned:
    """Returns a text that is no message (a subject) as plain text; nothing is cut."""
    if _is_simple(raw):
        return as_it_is(raw)
    counter = _Counter(raw)
    _to_text(counter)
    return Cleaned(unmarked(counter.text), counter.removed)


def as_it_is(raw: str) -> Cleaned:
    """Returns a text as it stands, without white space at its ends."""
    text = raw.strip()
    return Cleaned(text, {"whitespace": len(raw) - len(text)} if len(text) < len(raw) else {})


def _to_text(counter: _Counter) -> None:
    raw = counter.text
    sound = raw.isascii()
    if not sound:
        counter.set("encoding", mended(raw))
    if "\\" in raw or "_x000" in raw:
        counter.set("escape", unescaped(counter.text))
    counter.set("whitespace", tidy(counter.text))
    if "<" in raw or "&" in raw:
        counter.set("markup", marked(counter.text))
    if not sound and (text := visible(counter.text)) is not counter.text:
        counter.set("encoding", text)
        counter.set("whitespace", tidy(counter.text))
