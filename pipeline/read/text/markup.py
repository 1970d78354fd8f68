"""HTML in tickets and pages to plain text.

Output contract: `plain` gives text without tags and entities; `marked` the same with a mark before each line of a
quotation, `QUOTED` where the mail client says that it quotes a mail and `INDENTED` where it is only a blockquote. White
space inside a line is kept, blank lines are at most one in a row. What is not visible (scripts, styles, a document's
head) is left out where it is markup; a tag that the text speaks of (`put it before </head>`) is text, and so is all
after it. The time is linear in the length of the text, whatever is in it.
libxml2 parses the markup; what is not a known tag is text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import cache
from threading import get_ident

from lxml import etree

from pipeline.read.text.characters import tidy, visible
from pipeline.read.text.spoken_tags import escape_spoken

INLINE = (
    "a|abbr|acronym|b|big|cite|code|dfn|em|font|i|ins|del|kbd|mark|nobr|q|s|samp|small|span|strike|strong|sub|sup|u|tt|"
    "var|wbr"
)
BLOCK = (
    "address|article|aside|blockquote|body|caption|center|col|colgroup|dd|div|dl|dt|figcaption|figure|footer|form|"
    "h[1-6]|head|header|hr|html|iframe|img|li|link|main|meta|nav|noscript|ol|p|pre|section|style|script|table|tbody|td|"
    "tfoot|th|thead|title|tr|ul"
)
NAMES = f"{INLINE}|{BLOCK}|br"
OFFICE = r"(?:[ovwm]|st1):\w+"  # <o:p>, which Outlook writes everywhere
PARAGRAPH = "p div table ul ol h1 h2 h3 h4 h5 h6 pre section article blockquote dl figure"
BEFORE = dict.fromkeys([*PARAGRAPH.split(), "tr", "br"], "\n") | {"li": "\n- ", "td": " ", "th": " "}
AFTER = dict.fromkeys(PARAGRAPH.split(), "\n\n") | {"div": "\n", "tr": "\n"}
TAG = re.compile(rf"</?(?:{NAMES}|{OFFICE})(?:\s[^<>]*)?/?>", re.IGNORECASE)
BREAK = re.compile(r"<br\s*/?>[ \t]*\r?\n?", re.IGNORECASE)
LAYOUT_TAG = re.compile(rf"</?(?!(?:pre|img|hr)[\s/>])(?:{BLOCK})(?:\s[^<>]*)?/?>", re.IGNORECASE)
NO_TAG = re.compile(
    rf"<(?=/?[a-z])(?!/?(?:{NAMES}|{OFFICE})[\s/>])|<\?(?!xml)|<!\[CDATA", re.IGNORECASE
)  # <name@example.org>
SPACES = re.compile(r"(?<=\S) +")
HEAD = re.compile(r"(</?)head(?=[\s>])", re.IGNORECASE)
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
CODE = re.compile(r"(``[^`](?:[^`]|`(?!`))*``|`[^`]*`)")
QUOTE_CLASS = re.compile(
    r"gmail_quote|freshdesk_quote|yahoo_quoted|moz-cite-prefix|zd_quote|protonmail_quote|front-blockquote|zmail_extra"
)
UNSEEN = frozenset({"script", "style", "x-head", "title"})
DEEPEST = 512  # as in browsers; the parser looks through all open elements at an end tag without a start
PIECE = 1 << 15  # characters parsed before an end to it

# -- quotations --------------------------------------------------------------------------------------------------------

QUOTED, INDENTED, ENDED = "\ufdd0", "\ufdd1", "\ufdd2"  # no characters: Unicode keeps them for use inside a program
MARK = re.compile(f"[{QUOTED}{INDENTED}]")
SPACE, TAB = "\ufdd3", "\ufdd4"  # of preformatted text, which keeps them
SIGNS = (QUOTED, INDENTED, ENDED, SPACE, TAB)


def without_signs(text: str) -> str:
    """Returns a text that nobody has marked yet without what could be taken for a mark."""
    return re.sub("[\ufdd0-\ufdd4]", "", text)


def unmarked(text: str) -> str:
    """Returns a text of `marked` without the marks."""
    return MARK.sub("", text)


def _mark_lines(text: str) -> str:
    """Turns marks around quotations into marks before lines, the outermost of the client's own counting most."""
    blocks, open_marks = [], ""
    for piece in re.split(f"([{QUOTED}{INDENTED}{ENDED}])", text):
        if piece in (QUOTED, INDENTED):
            open_marks += piece
        elif piece == ENDED:
            open_marks = open_marks[:-1]
        elif block := tidy(piece):
            mark = QUOTED if QUOTED in open_marks else open_marks[:1]
            blocks.append(mark + block.replace("\n", "\n" + mark) if mark else block)
    return "\n\n".join(blocks)


# -- the parser --------------------------------------------------------------------------------------------------------


class _Reader:
    """Collects the visible text of what the parser reports: each element's start and end, written or not. What is
    inside `UNSEEN` is left out; quotations are marked."""

    def __init__(self) -> None:
        self._parser = etree.HTMLParser(target=self)

    def read(self, document: str) -> str:
        """Returns the text; raises `RecursionError` where elements nest deeper than `DEEPEST`."""
        self._parts: list[str] = []
        self._depth = 0
        self._hidden = 0  # depth of the element that is left out
        self._lists = [0]  # next number of each open list, 0 for bullets
        self._pre = 0
        self._quotes: list[tuple[int, int, bool]] = []  # open: depth, index of the mark in the parts, is it a box
        for at in range(0, len(document), PIECE):
            self._parser.feed(document[at : at + PIECE])
        return str(self._parser.close())

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise RecursionError
        if self._hidden:
            return
        if tag in UNSEEN:
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
        client = QUOTE_CLASS.search(attributes.get("class", "")) or attributes.get("type", "").lower() == "cite"
        if tag == "blockquote" or client:
            self._open_quote(QUOTED if client else INDENTED, tag != "blockquote")

    def _open_quote(self, mark: str, is_box: bool) -> None:
        """Of a mail client's box around a whole thread only the quotations in it are quoted, if there are any: what
        stands beside them is an answer."""
        if not is_box and self._quotes and self._quotes[-1][2]:
            self._parts[self._quotes[-1][1]] = ""
            mark = QUOTED
        self._quotes.append((self._depth, len(self._parts), is_box))
        self._parts.append(mark)

    def end(self, tag: str) -> None:
        self._depth -= 1
        if self._hidden:
            self._hidden = self._hidden if self._depth >= self._hidden else 0
            return
        while self._quotes and self._quotes[-1][0] > self._depth:
            _, at, _ = self._quotes.pop()
            self._parts.append(ENDED if self._parts[at] else "")
        if tag in ("ul", "ol"):
            self._lists.pop()
        self._pre -= tag == "pre"
        self._parts.append(AFTER.get(tag, ""))

    def data(self, text: str) -> None:
        if not self._hidden:
            text = text.replace("\r", "")
            self._parts.append(text.replace(" ", SPACE).replace("\t", TAB) if self._pre else text.replace("\n", " "))

    def close(self) -> str:
        return "".join(self._parts)


@cache
def _reader(thread: int) -> _Reader:
    """Returns the thread's own reader: to make one takes longer than to parse a mail."""
    return _Reader()


def _parse(text: str) -> str:
    """Returns the text of markup, quotations marked."""
    end = text.rfind(">") + 1
    known = NO_TAG.sub(lambda match: "&lt;" + match[0][1:], text[:end]) + text[end:].replace("<", "&lt;")
    closed = known.rfind("-->")
    if "<!--" in known[closed + 1 :]:
        known = known[: closed + 1] + known[closed + 1 :].replace("<!--", "&lt;!--")
    known = HEAD.sub(r"\1x-head", known)  # the parser drops a head that is not where it belongs, not what is in it
    try:
        found = _reader(get_ident()).read("<body>" + known)  # text outside a body becomes a paragraph
    except RecursionError:
        found = html.unescape(TAG.sub("\n", text))
    lines = visible(found).replace("\t", " ").split("\n")
    found = "\n".join([SPACES.sub(" ", line.strip()) if "  " in line else line.strip() for line in lines])
    if SPACE in found or TAB in found:
        found = found.replace(SPACE, " ").replace(TAB, "\t")
    return _mark_lines(found) if QUOTED in found or INDENTED in found else tidy(found)


def decoded(line: str) -> str:
    """Returns a line of Markdown with characters for entities, but in inline code."""
    if "&" not in line or not ENTITY.search(line):
        return line
    parts = CODE.split(line)
    parts[::2] = [ENTITY.sub(lambda match: html.unescape(match[0]), part) for part in parts[::2]]
    return "".join(parts)


def marked(text: str) -> str:
    """Returns `text` without HTML: tags become line breaks, list marks or nothing, entities their characters, and each
    line of a quotation begins with its mark."""
    if "<" in text and TAG.search(text):
        text = escape_spoken(text)
        if LAYOUT_TAG.search(text):
            return _parse(text) or tidy(html.unescape(TAG.sub("\n", text)))
        text = TAG.sub("", BREAK.sub("\n", text))  # no paragraphs: line breaks are the text's own
    if "&" in text:
        text = visible(ENTITY.sub(lambda match: html.unescape(match[0]), text))
    return tidy(text)


def plain(text: str) -> str:
    """Returns `text` without HTML, quotations as part of it."""
    return unmarked(marked(text if text.isascii() else without_signs(text)))
