"""Mail messages: split out of an mbox file, their headers, their text.

Output contract: `split` yields the messages of a file as bytes; `Envelope.of` what threads are made of; `content` the
text that a person wrote, and whether it is HTML. Whatever a message holds, nothing is raised: what cannot be decoded
comes out as U+DCFF. Memory: one message, of which at most `LARGEST` bytes are kept (attachments come last).
This module does not know who is a customer.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses, parsedate_to_datetime
from typing import BinaryIO

from pipeline.read.inputs.encodings import Detector

LARGEST = 32 << 20
FROM = re.compile(rb"From \S.* \d{1,2}:\d{2}")  # begins a message of an mbox file, behind a blank line
ESCAPED = re.compile(rb">+From ")
ID = re.compile(r"<[^<>\s]+>")
REPLY = re.compile(r"\s*(?:(?:re|aw|fw|fwd|wg|antw|sv|tr|rv|rif)\s*(?:\[\d+\])?\s*:\s*)+", re.IGNORECASE)


def split(lines: Iterable[bytes], mbox: bool) -> Iterator[bytes]:
    """Yields the messages of a file; one that is no mbox file is a message."""
    kept: list[bytes] = []
    size, blank, first = 0, True, True
    for line in lines:
        if mbox and blank and FROM.match(line):
            if not first:
                yield b"".join(kept)
            kept, size = [], 0
        elif size <= LARGEST:
            kept.append(line[1:] if mbox and ESCAPED.match(line) else line)
            size += len(line)
        blank, first = not line.strip(), False
    if not first:
        yield b"".join(kept)


def lines_of(stream: BinaryIO, most: int = 1 << 20) -> Iterator[bytes]:
    """Yields a file's lines, longer ones in pieces."""
    while line := stream.readline(most):
        yield line


def _decoded(value: object) -> str:
    """Returns a header as text, whatever it holds."""
    text = str(value)
    with contextlib.suppress(LookupError, ValueError):
        text = str(make_header(decode_header(text)))
    return " ".join(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").split())


def _addresses(message: Message, *names: str) -> list[tuple[str, str]]:
    values = [_decoded(value) for name in names for value in message.get_all(name, [])]
    return [(name.strip(), address.strip().lower()) for name, address in getaddresses(values) if "@" in address]


def _time(message: Message) -> datetime | None:
    try:
        found = parsedate_to_datetime(str(message["Date"]))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is known of a message without its text. `automatic`: no person wrote it."""

    id: str
    answers: tuple[str, ...]  # ids of messages that it follows
    sender: str
    people: tuple[str, ...]  # addresses of all who got it
    time: datetime | None
    automatic: bool

    @classmethod
    def of(cls, raw: bytes) -> Envelope:
        message = BytesHeaderParser().parsebytes(raw)
        answers = ID.findall(" ".join(str(message.get(name, "")) for name in ("References", "In-Reply-To")))
        sender = _addresses(message, "From", "Sender")
        automatic = str(message.get("Auto-Submitted", "no")).strip().lower() not in ("", "no")
        bulk = str(message.get("Precedence", "")).strip().lower() in ("bulk", "junk", "auto_reply", "list")
        return cls(
            next(iter(ID.findall(str(message.get("Message-ID", "")))), ""),
            tuple(dict.fromkeys(answers)),
            sender[0][1] if sender else "",
            tuple(address for _, address in _addresses(message, "To", "Cc")),
            _time(message),
            automatic or bulk,
        )


@dataclass(frozen=True, slots=True)
class Content:
    subject: str  # without `Re:` and its like
    text: str
    is_html: bool
    names: tuple[str, ...]  # of sender and recipients
    addresses: tuple[str, ...]


def content(raw: bytes) -> Content:
    """Returns what a message says."""
    message = message_from_bytes(raw)
    people = _addresses(message, "From", "To", "Cc")
    text, is_html = _text(message)
    subject = REPLY.sub("", _decoded(message.get("Subject", "")), count=1)
    names = tuple(dict.fromkeys(name for name, _ in people if name and "@" not in name))
    return Content(subject, text, is_html, names, tuple(dict.fromkeys(address for _, address in people)))


def _text(message: Message) -> tuple[str, bool]:
    """Returns the plain text of a message, or its HTML, and which of them it is."""
    found: dict[str, list[str]] = {"text/plain": [], "text/html": []}
    for part in _parts(message):
        kind = part.get_content_type()
        if kind in found and part.get_content_disposition() != "attachment" and not part.is_multipart():
            found[kind].append(_body(part))
    for kind, texts in found.items():
        if any(text.strip() for text in texts):
            return "\n\n".join(texts), kind == "text/html"
    return "", False


def _parts(message: Message) -> Iterator[Message]:
    """Yields a message's parts, without those of messages that are attached to it."""
    waiting = [message]
    while waiting:
        part = waiting.pop(0)
        yield part
        payload = part.get_payload()
        if isinstance(payload, list) and part.get_content_maintype() == "multipart":
            waiting[:0] = [inner for inner in payload if isinstance(inner, Message)]


def _body(part: Message) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    charset = str(part.get_content_charset("ascii"))
    try:
        text = _detected(data) if charset in ("ascii", "us-ascii") else data.decode(charset, "undefined")
    except (LookupError, ValueError):  # Python does not know it
        text = _detected(data)
    return text.replace("\r\n", "\n")


def _detected(data: bytes) -> str:
    detector = Detector()
    detector.add(data)
    return data.decode(detector.encoding(), "undefined")
