"""HTML in tickets and pages to plain text.

Output contract: `plain` gives text without tags and entities, without quoted replies where the mail client marks them;
`tidy` sets white space at line ends. White space inside a line is kept, blank lines are at most one in a row, and a
text that has words keeps some.
This module parses no document: what is not a known tag is text.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


INLINE = _words("a abbr b big code em font i ins del mark s small span strike strong sub sup u tt")
BLOCK = _words(
    "address article blockquote body br center dd div dl dt footer form h1 h2 h3 h4 h5 h6 head header hr html img li "
    "link main meta ol p pre section style script table tbody td tfoot th thead title tr ul"
)
TAG = re.compile(rf"</?(?:{'|'.join(sorted(INLINE | BLOCK))})(?:\s[^<>]*)?/?>", re.IGNORECASE)
BREAK = re.compile(r"<br\s*/?>[ \t]*\r?\n?", re.IGNORECASE)
BLOCK_TAG = re.compile(rf"</?(?:{'|'.join(sorted(BLOCK - {'br'}))})(?:\s[^<>]*)?/?>", re.IGNORECASE)
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
QUOTE_CLASS = re.compile(
    r"gmail_quote|freshdesk_quote|yahoo_quoted|moz-cite-prefix|zd_quote|x_gmail_quote|protonmail_quote"
)
UNSEEN = frozenset({"script", "style", "head", "title"})
PARAGRAPH = _words("p div table ul ol h1 h2 h3 h4 h5 h6 pre section article blockquote dl")


class _Reader(HTMLParser):
    """Collects the visible text; what is inside `UNSEEN`, and inside a quoted reply if `quotes` is off, is left out."""

    def __init__(self, quotes: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._quotes = quotes
        self._hidden = ""  # the element whose end is waited for
        self._depth = 0
        self._lists: list[int] = []  # next number of each open list, 0 for bullets
        self._pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            self._depth += tag == self._hidden
            return
        quoted = tag == "blockquote" or bool(QUOTE_CLASS.search(dict(attrs).get("class") or ""))
        if tag in UNSEEN or (quoted and not self._quotes):
            self._hidden, self._depth = tag, 1
        elif tag == "br":
            self.parts.append("\n")
        elif tag in ("ul", "ol"):
            self._lists.append(int(tag == "ol"))
            self.parts.append("\n")
        elif tag == "li":
            number = self._lists[-1] if self._lists else 0
            self.parts.append(f"\n{number}. " if number else "\n- ")
            if number:
                self._lists[-1] += 1
        elif tag in ("td", "th"):
            self.parts.append(" ")
        elif tag in PARAGRAPH or tag == "tr":
            self._pre += tag == "pre"
            self.parts.append("\n")
        elif tag not in INLINE and tag not in BLOCK:
            self.parts.append(self.get_starttag_text() or "")  # not HTML: <name@example.org>, <your name>

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._depth -= tag == self._hidden
            if self._depth == 0:
                self._hidden = ""
            return
        if tag in ("ul", "ol") and self._lists:
            self._lists.pop()
        self._pre -= tag == "pre" and self._pre > 0
        if tag == "div" or tag == "tr":
            self.parts.append("\n")
        elif tag in PARAGRAPH:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data if self._pre else data.replace("\r", "").replace("\n", " "))


def _parse(text: str, quotes: bool) -> str:
    reader = _Reader(quotes)
    reader.feed(text)
    reader.close()
    joined = "".join(reader.parts).replace("\u00a0", " ")
    return tidy("\n".join(re.sub(r"(?<=\S)[ \t]+", " ", line).strip() for line in joined.split("\n")))


def tidy(text: str) -> str:
    """Ends lines with LF, without white space before it; at most one blank line in a row, none at the ends."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if " \n" in text or "\t\n" in text:
        text = re.sub(r"[ \t]+\n", "\n", text)
    if "\n\n\n" in text:
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip()


def plain(text: str) -> str:
    """Returns `text` without HTML: tags become line breaks, list marks or nothing, entities their characters."""
    if "<" in text and TAG.search(text):
        if BLOCK_TAG.search(text):
            return _parse(text, quotes=False) or _parse(text, quotes=True)
        text = TAG.sub("", BREAK.sub("\n", text))  # no blocks: line breaks are the text's own
    if "&" in text:
        text = ENTITY.sub(lambda match: html.unescape(match[0]), text).replace("\u00a0", " ")
    return tidy(text)
