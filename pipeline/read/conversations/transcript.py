"""A chat that an export keeps as one text: lines of `(10:00:12) Anna: hi`, `[05.01.26, 10:00:12] Anna: hi`, `anna: hi`.

Output contract: `split` returns who said what in order, the lines of one speaker in a row as one text, or None where
the text is no transcript or it cannot be told which speaker is the customer. Stamps and names are no part of what was
said. Notices (`*** Ben joined the chat ***`), what stands above the first line, and bots are left out.
This module is for texts of a few thousand lines; its time is linear in them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from pipeline.read.conversations.conversation import Side

CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?(?:\s?[AaPp]\.?[Mm]\.?)?"
DAY = r"(?:\d{1,4}[-./]\d{1,2}[-./]\d{1,4},?\s{1,3})?"
STAMP = rf"(?:\({DAY}{CLOCK}\)|\[{DAY}{CLOCK}\]|{DAY}{CLOCK}(?: ?[-–|])?)"
STAMPED = re.compile(rf"{STAMP} ([^:\n()\[\]<>]{{1,60}}?):(?=\s|$)")
NOTICE = re.compile(rf"(?:{STAMP} )?\*\*\*")
BARE = re.compile(r"([^\s:()\[\]<>/,.;?!][^:\n()\[\]<>/,;?!]{0,39}):(?= \S)")
HINT = re.compile(
    rf"(?:^|[\n>])[ \t]*(?:{STAMP} [^:\n<]{{1,60}}:|"
    r"(?:visitor|besucher|customer|kunde|client|guest|gast)[^:\n]{0,12}:)",
    re.IGNORECASE,
)
HEAD = 160  # characters of a line in which its stamp and speaker stand
VISITOR = re.compile(
    r"(?:visitor|besucher(?:in)?|customer|kund(?:e|in)|client|user|guest|gast)(?: ?#?\d+)?", re.IGNORECASE
)
STAFF = re.compile(
    r"(?:agent|support|operator|kundenservice|kundendienst|customer (?:service|support|care)|service|"
    r"mitarbeiter(?:in)?)(?: ?#?\d+| team)?",
    re.IGNORECASE,
)
BOT = re.compile(
    r"(?:system|.*\b(?:chat)?bot\b.*|virtual (?:agent|assistant)|auto-?(?:responder|reply))", re.IGNORECASE
)
TITLE = 8  # words above a chat from which they are a message, no title
LEAST = 2  # lines with a speaker
MOST = 12  # speakers


@dataclass(frozen=True)
class Transcript:
    """Who said what, the lines of one speaker in a row as one text; the names of all speakers."""

    speakers: tuple[str, ...]
    turns: list[tuple[Side, str]] = field(default_factory=list)


def likely(text: str, customers: list[str]) -> bool:
    """Tells, at a glance, whether a text as it was exported may be a transcript."""
    if HINT.search(text):
        return True
    low = text.casefold()
    return any(name and f"{name.casefold().split(' ')[0]}:" in low for name in customers) and low.count(":") > 1


def _known(speaker: str, names: Iterable[str]) -> bool:
    """Tells whether a speaker is one of these people: by the whole name, its first word, or an address."""
    low = speaker.casefold()
    return any(
        low in (name.casefold(), name.casefold().split(" ")[0], name.casefold().split("@")[0]) for name in names if name
    )


def _lines(text: str, pattern: re.Pattern[str]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Returns the lines above the first speaker, and (speaker, lines) per line with a speaker; a line without one goes
    on with the one above."""
    above: list[str] = []
    said: list[tuple[str, list[str]]] = []
    for line in map(str.strip, text.split("\n")):
        if line.endswith("***") and NOTICE.match(line[:HEAD]):
            continue
        if found := pattern.match(line[:HEAD]):
            said.append((found[1].strip(), [line[found.end() :].strip()]))
        elif line:
            (said[-1][1] if said else above).append(line)
    return above, said


def _side(speaker: str, customers: list[str], agents: list[str]) -> Side | None:
    if VISITOR.fullmatch(speaker) or _known(speaker, customers):
        return "customer"
    return "agent" if STAFF.fullmatch(speaker) or _known(speaker, agents) else None


def _bare(said: list[tuple[str, list[str]]], sides: dict[str, Side | None], customers: list[str]) -> bool:
    """Tells whether lines without a stamp are a chat: `Problem: ...` and `Customer: ...` in a form are no speakers."""
    unknown = [name for name, side in sides.items() if side is None]
    if not unknown and set(sides.values()) == {"customer", "agent"}:
        return True
    again = max(Counter(name for name, _ in said).values()) > 1
    return again and len(unknown) <= 2 and any(_known(name, customers) for name in sides)


def split(text: str, customers: list[str], agents: list[str]) -> Transcript | None:
    """Returns a chat, None for another text; `customers` and `agents`: the names of people the ticket knows."""
    above, said = _lines(text, STAMPED)
    stamped = len(said) >= LEAST
    if not stamped:
        above, said = _lines(text, BARE)
    said = [(name, lines) for name, lines in said if not BOT.fullmatch(name)]
    sides = {name: _side(name, customers, agents) for name, _ in said}
    if len(said) < LEAST or not 2 <= len(sides) <= MOST:
        return None
    if not stamped and not _bare(said, sides, customers):
        return None
    if "customer" not in sides.values():
        unknown = [name for name, side in sides.items() if side is None]
        if len(unknown) != 1:
            return None  # who is the customer?
        sides[unknown[0]] = "customer"
    found = Transcript(speakers=tuple(sides))
    if sum(len(line.split()) for line in above) >= TITLE:
        found.turns.append(("customer", "\n".join(above)))
    for name, group in groupby(said, lambda line: line[0]):
        words = "\n".join(line for _, lines in group for line in lines if line)
        if words:
            found.turns.append((sides[name] or "agent", words))  # somebody unknown in the ticket's chat is staff
    return found


def spoken(text: str) -> str:
    """Returns a message without the stamp and the name that a transcript puts before it."""
    found = STAMPED.match(text[:HEAD])
    return text[found.end() :].strip() if found else text
