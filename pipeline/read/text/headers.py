"""The headers of another mail inside a text, as Outlook and web mailers put them: `Von: … Gesendet: … An: …`.

Output contract: `read_block` and `read_inline` return a `Headers` or None; `Headers` says whose mail follows. Headers
alone are no evidence of a quote: forms, bookings and mails that are passed on have them too.
This module knows English and German mail clients, and cuts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

KEYS = {
    "from": "from", "von": "from", "absender": "from", "sent": "sent", "date": "sent", "gesendet": "sent",
    "datum": "sent", "to": "to", "an": "to", "cc": "cc", "kopie": "cc", "bcc": "cc", "subject": "subject",
    "betreff": "subject", "reply-to": "cc", "antwort an": "cc", "importance": "cc", "wichtigkeit": "cc",
    "priorität": "cc", "anlagen": "cc", "attachments": "cc",
}  # fmt: skip
NAMES = "|".join(KEYS)
LINE = re.compile(rf"[\s>*]*({NAMES})[ \t]*:[*\s]*(\S.*)?", re.IGNORECASE)
INLINE = re.compile(rf"(?:(?<=\s)|^)\*{{0,2}}({NAMES}):\*{{0,2}}\s", re.IGNORECASE)
MOST = 12  # headers of a mail
LONGEST = 300  # characters of a header in a line of several
CLOCK = re.compile(r"\d{1,2}[:.]\d{2}\b")
PASSED_ON = re.compile(r"\W*(?:wg|fwd?|wtr|weitergeleitet)\s*:", re.IGNORECASE)
DESK = re.compile(
    r"\b(?:\w*support|service|(?:service|help)[ -]?desk|help|hilfe|kunden(?:service|dienst|betreuung|support|center)|"
    r"customer[ ._-]?(?:service|care|support|success)|care|hotline|tickets?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Headers:
    """Headers of a mail; `end`: of the line after them, or the index in the text of what follows them."""

    sender: str
    sent: str
    recipient: str
    subject: str
    end: int

    @property
    def is_complete(self) -> bool:
        """Everything that a client writes."""
        return bool(self.recipient and CLOCK.search(self.sent))

    @property
    def is_mail(self) -> bool:
        """An address, or everything that a client writes; a form has neither."""
        return self.is_complete or "@" in self.sender or "@" in self.recipient

    @property
    def is_passed_on(self) -> bool:
        return PASSED_ON.match(self.subject) is not None


def is_one_of(person: str, known: Sequence[str]) -> bool:
    """Tells whether a sender or recipient is one of the known names and addresses."""
    low = person.casefold()
    return any(len(name) > 3 and name.casefold() in low for name in known)


def is_desk(person: str, desk: Sequence[str], customers: Sequence[str]) -> bool:
    """Tells whether a sender or recipient is the help desk: by its known people, or by what it is called."""
    if is_one_of(person, desk):
        return True
    local = re.sub(r"@[\w.-]+", "@", person)  # a firm may be called Service Ltd.
    return not is_one_of(person, customers) and DESK.search(local.replace("_", " ")) is not None


def _headers(values: dict[str, str], end: int) -> Headers | None:
    if not values.get("from") or len(values.keys() & {"sent", "to", "subject"}) == 0:
        return None
    return Headers(values["from"], values.get("sent", ""), values.get("to", ""), values.get("subject", ""), end)


def read_block(lines: Sequence[str], at: int) -> Headers | None:
    """Returns the headers that begin in line `at`, one a line; None where there are fewer than two."""
    values: dict[str, str] = {}
    end = at
    while end < len(lines):
        match = LINE.fullmatch(lines[end]) if ":" in lines[end] else None
        if match is None:
            if values and not lines[end].strip() and end + 1 < len(lines) and _goes_on(lines[end + 1], values):
                end += 1  # a paragraph each, as HTML becomes
                continue
            if not values or lines[end][:1] not in (" ", "\t") or "@" not in lines[end]:
                break
            end += 1  # more recipients
            continue
        kind = KEYS[match[1].lower()]
        if kind in values and kind != "cc":
            break
        values[kind] = (match[2] or "").strip("* ")
        end += 1
    return _headers(values, end)


def _goes_on(line: str, values: Mapping[str, str]) -> bool:
    match = LINE.fullmatch(line) if ":" in line else None
    return match is not None and KEYS[match[1].lower()] not in values


def read_inline(text: str, start: int = 0) -> tuple[int, Headers] | None:
    """Returns where in one long line headers begin, and the headers: sender, date or recipient, and subject."""
    found = list(INLINE.finditer(text, start))
    for first in range(len(found) - 2):
        values: dict[str, str] = {}
        end = found[first].end()
        for match, after in zip(found[first : first + MOST], [*found[first + 1 : first + MOST], None], strict=False):
            kind = KEYS[match[1].lower()]
            if match.start() - end > LONGEST or (kind in values and kind != "cc"):
                break
            end = match.end()
            value = text[end : after.start()] if after else text[end : end + 60]
            values[kind] = value.strip("* ")[:LONGEST]
        if "subject" in values and (headers := _headers(values, end)) and len(values) > 2:
            return found[first].start(), headers
    return None
