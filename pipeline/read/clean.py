"""Ticket text as a person wrote it: HTML to plain text, quoted replies, signatures and legal footers cut.

Output contract: `plain` gives text without tags and entities; `without_quotes` what the sender wrote in this message;
`own_words` that, less signature and footer. White space inside a line is kept, blank lines are at most one in a row. A
cut that would leave nothing is not made, so no text becomes empty here.
This module knows English and German mail clients and does not look for personal data.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
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


# -- quoted replies ---------------------------------------------------------------------------------------------------

ATTRIBUTION = re.compile(
    r"\s*(?:>\s*)?(?:(?:on|am)\s.{4,200}(?:wrote|schrieb)\b.{0,120}:|.{2,120}\s(?:wrote|schrieb)\s+(?:on|am)\s.{4,80}:)\s*",
    re.IGNORECASE,
)
DATED = re.compile(r"\d{1,2}:\d{2}|\d{4}|@")  # of a mail client; "Am 3. Mai schrieb mir Ihr Kollege:" is a sentence
ORIGINAL = re.compile(
    r"\s*[-_]{3,}\s*(?:original(?:e)? (?:message|nachricht|appointment)|urspr(?:ü|ue)ngliche (?:nachricht|e-?mail)|"
    r"(?:forwarded|weitergeleitete) (?:message|nachricht)|reply message|antwort)\s*[-_]{3,}\s*",
    re.IGNORECASE,
)
OUTLOOK_FROM = re.compile(r"\s*\**(?:from|von):\**\s+\S", re.IGNORECASE)
OUTLOOK_NEXT = re.compile(r"\s*\**(?:sent|date|gesendet|datum|to|an):\**\s+\S", re.IGNORECASE)
ABOVE_LINE = re.compile(r"\s*##- .{0,200} -##\s*")


def _attribution(lines: Sequence[str], at: int) -> int:
    """Returns how many lines (0, 1 or 2) say who wrote what follows. Long ones are wrapped."""
    for count in (1, 2):
        line = " ".join(lines[at : at + count])
        if "wrote" not in line.lower() and "schrieb" not in line.lower():
            continue
        if len(lines) < at + count or not ATTRIBUTION.fullmatch(line):
            continue
        after = next((rest.lstrip() for rest in lines[at + count :] if rest.strip()), "")
        if after.startswith(">") or DATED.search(line):
            return count
    return 0


def _cut_quotes(lines: list[str]) -> list[str]:
    kept: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        outlook = OUTLOOK_FROM.match(line) and any(OUTLOOK_NEXT.match(rest) for rest in lines[at + 1 : at + 3])
        if outlook or ORIGINAL.fullmatch(line):
            break
        if count := _attribution(lines, at):
            at += count
            while at < len(lines) and not lines[at].strip():
                at += 1
            if at == len(lines) or not lines[at].lstrip().startswith(">"):
                break  # an unmarked quote has no end; a marked one may have an answer below it
        elif line.lstrip().startswith(">") or ABOVE_LINE.fullmatch(line):
            at += 1
        else:
            kept.append(line)
            at += 1
    return kept


# -- signatures and footers -------------------------------------------------------------------------------------------

SIGNATURE_LINES = 15  # a longer text under `--` is not a signature
DEVICE = (
    r"(?:i-?phone|i-?pad|android|samsung|galaxy|huawei|xiaomi|pixel|handy|smartphone|mobil|mobile|phone|tablet|windows)"
)
APP = r"(?:mail\b|outlook|yahoo|proton|gmx|web\.de|k-9|gmail|thunderbird)"
MOBILE = re.compile(
    rf"\s*(?:sent (?:from|via|with|by) (?:(?:my|a|an|the) )?(?:{DEVICE}|{APP}).{{0,60}}|get outlook for .{{2,20}}|"
    rf"(?:diese (?:nachricht|e-?mail) wurde )?von (?:meine[mr]? )?(?:{DEVICE}|{APP}).{{0,60}} gesendet\.?|"
    rf"gesendet (?:von|mit|über|aus) (?:meine[mr]? |der |dem )?(?:{DEVICE}|{APP}).{{0,60}}|"
    r"(?:holen sie sich )?outlook für .{2,20}|outlook für .{2,20} beziehen)\s*",
    re.IGNORECASE,
)
FOOTER = re.compile(
    r"\W*(?:"
    r"(?:this|the (?:information|contents?) (?:contained )?(?:in|of) this) (?:e-?mail|message|communication)\b.{0,120}?"
    r"(?:confidential|privileged|intended (?:only|solely|for the))|"
    r"confidentiality notice|legal disclaimer|disclaimer\s*:|if you are not the intended recipient|"
    r"if you have received this.{0,40}(?:in error|by mistake)|virus-free\.|"
    r"please consider the environment|think before you print|"
    r"(?:diese|der inhalt dieser|die information(?:en)? in dieser) (?:e-?mail|nachricht)\b.{0,120}?"
    r"(?:vertraulich|rechtlich geschützt|ausschließlich für|nur für den)|"
    r"(?:wenn|falls|sollten) sie nicht der (?:richtige|beabsichtigte|vorgesehene)|"
    r"(?:wenn|falls|sollten) sie diese (?:e-?mail|nachricht) irrtümlich|"
    r"bitte (?:prüfen|überlegen) sie.{0,60}(?:e-?mail|nachricht).{0,60}(?:druck|papier)|"
    r"bitte denken sie an (?:die|unsere) umwelt|virenfrei\.|haftungsausschluss\s*:|vertraulichkeitshinweis"
    r")",
    re.IGNORECASE | re.DOTALL,
)


def _cut_signature(lines: list[str]) -> list[str]:
    for at, line in enumerate(lines):
        if line.rstrip() == "--" and len(lines) - at - 1 <= SIGNATURE_LINES:
            lines = lines[:at]
            break
    lines = [line for line in lines if not MOBILE.fullmatch(line)]
    paragraphs = "\n".join(lines).split("\n\n")
    return "\n\n".join(p for p in paragraphs if not FOOTER.match(p)).split("\n")


# One of these, in lower case, is in every text that a cut above would change: most texts have none and skip the work.
QUOTE_SIGNS = ("\n>", "\n ", "\n\t", "wrote", "schrieb", "---", "___", "from:", "von:", "##-")
SIGNATURE_SIGNS = (
    "\n--", "sent ", "gesendet", "outlook", "confidential", "privileged", "intended", "disclaimer", "received this",
    "environment", "print", "virus", "vertraulich", "geschützt", "ausschließlich", "nur für", "nicht der", "umwelt",
    "irrtümlich", "druck", "papier", "viren", "haftungs",
)  # fmt: skip


def _cut(text: str, signs: Sequence[str], cut: Callable[[list[str]], list[str]]) -> str:
    low = "\n" + text.lower()
    if not any(sign in low for sign in signs):
        return text
    return tidy("\n".join(cut(text.split("\n")))) or text


def without_quotes(text: str) -> str:
    """Returns what the sender wrote in this message, without the messages it quotes; expects LF line ends."""
    return _cut(text, QUOTE_SIGNS, _cut_quotes)


def own_words(text: str) -> str:
    """Returns a customer's message without quoted replies, signature after `--`, device line and legal footer."""
    return _cut(without_quotes(text), SIGNATURE_SIGNS, _cut_signature)
