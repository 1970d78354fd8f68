"""A chat that an export keeps as one text: lines of `(10:00:12) Anna: hi`, `[05.01.26, 10:00:12] Anna: hi`, `anna: hi`.

Output contract: `split` returns who said what in order, the lines of one speaker in a row as one text, or None where
the text is no transcript or it cannot be told which speaker is the customer. Stamps and names are no part of what was
said. Notices (`*** Ben joined the chat ***`), what stands above the first line, and bots are left out.
This module is for texts of a few thousand lines; its time is linear in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.read.conversations.conversation import Side

CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?(?:\s?[AaPp]\.?[Mm]\.?)?"
DAY = r"(?:\d{1,4}[-./]\d{1,2}[-./]\d{1,4},?\s+)?"
NAME = r"([^:\n()\[\]<>]{1,60}?)"
STAMPED = re.compile(
    rf"[ \t]*(?:\({DAY}{CLOCK}\)|\[{DAY}{CLOCK}\]|{DAY}{CLOCK}(?:\s*[-–|])?)[ \t]+{NAME}:(?:[ \t]+(.*)|[ \t]*$)"
)
NOTICE = re.compile(rf"[ \t]*(?:\({DAY}{CLOCK}\)|\[{DAY}{CLOCK}\]|{DAY}{CLOCK})?[ \t]*\*\*\*.*\*\*\*[ \t]*")
BARE = re.compile(r"[ \t]*([^\s:()\[\]<>/,.;?!][^:\n()\[\]<>/,;?!]{0,39}):[ \t]+(\S.*)")
VISITOR = re.compile(
    r"(?:visitor|besucher(?:in)?|customer|kund(?:e|in)|client|user|guest|gast)(?: ?#?\d+)?", re.IGNORECASE
)
STAFF = re.compile(
    r"(?:agent|support|operator|kundenservice|kundendienst|customer (?:service|support|care)|service|"
    r"mitarbeiter(?:in)?)(?: ?#?\d+| team)?",
    re.IGNORECASE,
)
BOT = re.compile(r"(?:system|.*\b(?:chat)?bot\b.*|virtual (?:agent|assistant)|answer bot|auto.*)", re.IGNORECASE)
LEAST = 2  # lines with a speaker; bare ones need two that are the customer's or an agent's by name


def _known(speaker: str, names: Iterable[str]) -> bool:
    """Tells whether a speaker is one of these people: by the whole name, its first word, or an address."""
    low = speaker.casefold()
    return any(
        low in (name.casefold(), name.casefold().split(" ")[0], name.casefold().split("@")[0]) for name in names if name
    )


def _lines(text: str, pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Returns (speaker, text) per line with a speaker; a line without one goes on with the one above."""
    said: list[tuple[str, str]] = []
    for line in text.split("\n"):
        if NOTICE.fullmatch(line):
            continue
        if found := pattern.fullmatch(line.rstrip("\r")):
            said.append((found[1].strip(), (found[2] or "").strip()))
        elif said and line.strip():
            said[-1] = (said[-1][0], f"{said[-1][1]}\n{line.strip()}".strip())
    return said


def _side(speaker: str, customers: list[str], agents: list[str]) -> Side | None:
    if VISITOR.fullmatch(speaker) or _known(speaker, customers):
        return "customer"
    return "agent" if STAFF.fullmatch(speaker) or _known(speaker, agents) else None


def split(text: str, customers: list[str], agents: list[str]) -> list[tuple[Side, str]] | None:
    """Returns (side, text) of a transcript; `customers` and `agents`: the names of people the ticket knows."""
    stamped = _lines(text, STAMPED)
    said = stamped if len(stamped) >= LEAST else _lines(text, BARE)
    speakers = list(dict.fromkeys(name for name, _ in said if not BOT.fullmatch(name)))
    sides = {name: _side(name, customers, agents) for name in speakers}
    if len(said) < LEAST or not 2 <= len(speakers) <= 12:
        return None
    if said is not stamped and "customer" not in sides.values():
        return None  # `Problem: ...` and `Version: ...` are no speakers
    unknown = [name for name in speakers if sides[name] is None]
    if "customer" not in sides.values():
        if not (len(unknown) == 1 and "agent" in sides.values()):
            return None
        sides[unknown[0]] = "customer"
    turns: list[tuple[Side, str]] = []
    last = ""
    for name, words in said:
        if BOT.fullmatch(name) or not words:
            continue
        side = sides[name] or "agent"  # somebody else in the ticket's chat
        if turns and name == last:
            turns[-1] = (side, f"{turns[-1][1]}\n{words}")
        else:
            turns.append((side, words))
        last = name
    return turns
