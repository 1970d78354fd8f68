"""HTML in tickets and pages to plain text.

Output contract: `plain` gives text without tags and entities, without quoted replies where the mail client marks them;
`tidy` sets white space at line ends. White space inside a line is kept, blank lines are at most one in a row, and a
text that has words keeps some. The time is linear in the length of the text, whatever is in it.
libxml2 parses the markup; what is not a known tag is text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import cache
from threading import get_ident

from lxml import etree

INLINE = "a|abbr|b|big|code|em|font|i|ins|del|mark|s|small|span|strike|strong|sub|sup|u|tt"
BLOCK = (
    "address|article|blockquote|body|center|dd|div|dl|dt|footer|form|h[1-6]|head|header|hr|html|img|li|link|main|meta|"
    "ol|p|pre|section|style|script|table|tbody|td|tfoot|th|thead|title|tr|ul"
)
NAMES = f"{INLINE}|{BLOCK}|br"
PARAGRAPH = "p div table ul ol h1 h2 h3 h4 h5 h6 pre section article blockquote dl"
BEFORE = dict.fromkeys([*PARAGRAPH.split(), "tr", "br"], "\n") | {"li": "\n- ", "td": " ", "th": " "}
AFTER = dict.fromkeys(PARAGRAPH.split(), "\n\n") | {"div": "\n", "tr": "\n"}
TAG = re.compile(rf"</?(?:{NAMES})(?:\s[^<>]*)?/?>", re.IGNORECASE)
BREAK = re.compile(r"<br\s*/?>[ \t]*\r?\n?", re.IGNORECASE)
BLOCK_TAG = re.compile(rf"</?(?:{BLOCK})(?:\s[^<>]*)?/?>", re.IGNORECASE)
NO_TAG = re.compile(rf"<(?=[a-z])(?!(?:{NAMES})[\s/>])", re.IGNORECASE)  # <name@example.org>, <your name>
SPACES = re.compile(r"(?<=\S) +")
HEAD = re.compile(r"(</?)head(?=[\s>])", re.IGNORECASE)
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
QUOTE_CLASS = re.compile(r"gmail_quote|freshdesk_quote|yahoo_quoted|moz-cite-prefix|zd_quote|protonmail_quote")
UNSEEN = frozenset({"script", "style", "x-head", "title"})
DEEPEST = 512  # as in browsers; the parser looks through all open elements at an end tag without a start
PIECE = 1 << 15  # characters parsed before an end to it


class _Reader:
    """Collects the visible text of what the parser reports: each element's start and end, written or not. What is
    inside `UNSEEN`, and inside a quoted reply if `quotes` is off, is left out."""

    def __init__(self) -> None:
        self._parser = etree.HTMLParser(target=self)

    def read(self, document: str, quotes: bool) -> str:
        """Returns the text; raises `RecursionError` where elements nest deeper than `DEEPEST`."""
        self._quotes = quotes
        self._parts: list[str] = []
        self._depth = 0
        self._hidden = 0  # depth of the element that is left out
        self._lists = [0]  # next number of each open list, 0 for bullets
        self._pre = 0
        for at in range(0, len(document), PIECE):
            self._parser.feed(document[at : at + PIECE])
        return str(self._parser.close())

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise RecursionError
        if self._hidden:
            return
        quoted = tag == "blockquote" or QUOTE_CLASS.search(attributes.get("class", ""))
        if tag in UNSEEN or (quoted and not self._quotes):
            self._hidden = self._depth
            return
        before = BEFORE.get(tag, "")
        if tag == "li" and self._lists[-1]:
            before = f"\n{self._lists[-1]}. "
            self._lists[-1] += 1
        elif tag in ("ul", "ol"):
            self._lists.append(int(tag == "ol"))
        self._pre += tag == "pre"
        self._parts.append(before)

    def end(self, tag: str) -> None:
        self._depth -= 1
        if self._hidden:
            self._hidden = self._hidden if self._depth >= self._hidden else 0
            return
        if tag in ("ul", "ol"):
            self._lists.pop()
        self._pre -= tag == "pre"
        self._parts.append(AFTER.get(tag, ""))

    def data(self, text: str) -> None:
        if not self._hidden:
            self._parts.append(text if self._pre else text.replace("\r", "").replace("\n", " "))

    def close(self) -> str:
        return "".join(self._parts)


@cache
def _reader(thread: int) -> _Reader:
    """Returns the thread's own reader: to make one takes longer than to parse a mail."""
    return _Reader()


def _parse(text: str, quotes: bool) -> str:
    end = text.rfind(">") + 1
    known = NO_TAG.sub("&lt;", text[:end]) + text[end:].replace("<", "&lt;")
    known = HEAD.sub(r"\1x-head", known)  # the parser drops a head that is not where it belongs, not what is in it
    try:
        found = _reader(get_ident()).read("<body>" + known, quotes)  # text outside a body becomes a paragraph
    except RecursionError:
        found = html.unescape(TAG.sub("\n", text))
    lines = found.replace("\u00a0", " ").replace("\t", " ").split("\n")
    return tidy("\n".join([SPACES.sub(" ", line.strip()) if "  " in line else line.strip() for line in lines]))


def tidy(text: str) -> str:
    """Ends lines with LF, without white space before it; at most one blank line in a row, none at the ends."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if " \n" in text or "\t\n" in text:
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
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
