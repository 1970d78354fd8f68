"""Mail as its sender wrote it: quoted replies, signatures and legal footers cut.

Output contract: `answer_words` gives what the sender wrote in this message, less quoted messages and legal footers;
`own_words` that, less device line and signature. A cut that would leave nothing is not made, so no text becomes empty
here; a text that was cut is cut no further when it comes again. About 35,000 tickets/s and core.
This module knows English and German mail clients and does not look for personal data. The libraries for this were
measured on `tests/read/mails.txt`: the best of four gets 29 of its 57 mails right, this module all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice

from pipeline.read.text.markup import tidy

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
SENDER = re.compile(r"\s*\**(?:from|von):\**\s+\S", re.IGNORECASE)
SENT = re.compile(r"\s*\**(?:sent|date|gesendet|datum):\**\s+\S", re.IGNORECASE)
RECIPIENT = re.compile(r"\s*\**(?:to|an):\**\s+\S", re.IGNORECASE)
ABOVE_LINE = re.compile(r"\s*##- .{0,200} -##\s*")
RULE = re.compile(r"\s*[-_=*]{5,}\s*")


def _attribution(lines: Sequence[str], at: int) -> int:
    """Returns how many lines (0 to 3) say who wrote what follows. Long ones are wrapped."""
    for count in (1, 2, 3):
        line = " ".join(lines[at : at + count])
        if "wrote" not in line.lower() and "schrieb" not in line.lower():
            continue
        if len(lines) < at + count or not ATTRIBUTION.fullmatch(line):
            continue
        after = next((rest.lstrip() for rest in islice(lines, at + count, None) if rest.strip()), "")
        if after.startswith(">") or DATED.search(line):
            return count
    return 0


def _headers(lines: Sequence[str], at: int) -> bool:
    """Tells whether the headers of another mail begin here, as Outlook and web mailers put them."""
    following = lines[at + 1 : at + 3]
    if SENDER.match(lines[at]):
        return any(SENT.match(line) or RECIPIENT.match(line) for line in following)
    found = SENT.match(lines[at]) and any(SENDER.match(line) for line in following)
    return bool(found and any(RECIPIENT.match(line) for line in following))


def _cut_quotes(lines: list[str]) -> list[str]:
    kept: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if ORIGINAL.fullmatch(line) or _headers(lines, at):
            while kept and (not kept[-1].strip() or RULE.fullmatch(kept[-1])):
                kept.pop()  # the rule that Outlook draws above the headers
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


# -- signatures -------------------------------------------------------------------------------------------------------

SIGNATURE_LINES = 15  # a longer text under `--` is not a signature
DEVICE = (
    r"(?:i-?phone|i-?pad|android|samsung|galaxy|huawei|xiaomi|pixel|handy|smartphone|mobil|mobile|phone|tablet|windows)"
)
APP = r"(?:mail\b|outlook|yahoo|proton|gmx|web\.de|k-9|gmail|thunderbird)"
MOBILE = re.compile(
    rf"\s*(?:sent (?:from|via|with|by) (?:(?:my|a|an|the) )?(?:{DEVICE}|{APP}).{{0,60}}|get outlook for .{{2,20}}|"
    rf"(?:diese (?:nachricht|e-?mail) wurde )?von (?:meine[mr]? )?(?:{DEVICE}|{APP}).{{0,60}} gesendet\.?|"
    rf"gesendet (?:von|mit|über|aus) (?:meine[mr]? |der |dem )?(?:{DEVICE}|{APP}).{{0,60}}|"
    r"(?:holen sie sich )?outlook für .{2,20}|outlook für .{2,20} (?:beziehen|herunterladen))\s*(?:<http[^>]*>)?\s*",
    re.IGNORECASE,
)
CLOSING = re.compile(
    r"\s*(?:(?:mit |viele |liebe |beste |schöne |herzliche |sonnige )?"
    r"(?:(?:freundlich|best|lieb|herzlich|viel|sonnig)e[nmr]? )?"
    r"gr(?:u|ü|ue)(?:ß|ss)(?:e|en)?|mfg|lg|vg|hochachtungsvoll|"
    r"(?:(?:kind|best|warm)(?:est)? |with )?(?:kind |best )?(?:regards|wishes)|best|cheers|"
    r"(?:yours )?(?:sincerely|faithfully|truly)(?: yours)?|(?:many )?thanks|thank you|danke)"
    r"(?: (?:aus|from) [\w .-]{2,30})?[\s,.!]*",
    re.IGNORECASE,
)
CONTACT = re.compile(
    r"(?:\b(?:tel|telefon|fon|phone|mobil|mobile|cell|fax|direct|durchwahl)\b\.?:?|^[tmf]:?)\s*\(?[+0]?\d|"
    r"\+\d{1,3}[ (]?\d|https?://|\bwww\.|\S@\S+\.\w|\b(?:gmbh|ag|kg|ohg|ug|ltd|llc|inc|limited|plc)\b",
    re.IGNORECASE,
)
POSTSCRIPT = re.compile(r"\s*p\.?\s?s\b", re.IGNORECASE)


def _is_signature(block: Sequence[str]) -> bool:
    """Tells whether lines at the end of a mail are a name with how to reach it: short lines, no sentence."""
    lines = [line.strip() for line in block if line.strip()]
    if not 0 < len(lines) <= SIGNATURE_LINES or not any(CONTACT.search(line) for line in lines):
        return False
    return not any("?" in line or POSTSCRIPT.match(line) or _is_sentence(line) for line in lines)


def _is_sentence(line: str) -> bool:
    return len(line.split()) > (4 if line[-1] in ".!…" else 9) and not LEGAL.search(line)


def _cut_signature(lines: list[str]) -> list[str]:
    lines = [line for line in lines if not MOBILE.fullmatch(line)]
    for at in range(max(0, len(lines) - SIGNATURE_LINES - 1), len(lines)):
        if lines[at].rstrip() == "--":
            return lines[:at]
    for at in range(max(0, len(lines) - 2 * SIGNATURE_LINES), len(lines)):
        if CLOSING.fullmatch(lines[at]) and _is_signature(lines[at + 1 :]):
            return lines[: at + 1]  # the closing belongs to the letter
        if RULE.fullmatch(lines[at]) and _is_signature(lines[at + 1 :]):
            return lines[:at]
    return lines


# -- footers ----------------------------------------------------------------------------------------------------------

FOOTER = re.compile(
    r"\W*(?:"
    r"(?:this|the (?:information|contents?) (?:contained )?(?:in|of) this) (?:e-?mail|message|communication)\b.{0,120}?"
    r"(?:confidential|privileged|intended (?:only|solely|for the)|checked for viruses|scanned (?:for|by)|"
    r"originated from outside)|"
    r"confidentiality notice|legal disclaimer|disclaimer\s*:|if you are not the intended recipient|"
    r"if you have received this.{0,40}(?:in error|by mistake)|virus-free\.|"
    r"any unauthori[sz]ed .{0,60}(?:prohibited|use)|"
    r"(?:external|caution)\b.{0,30}(?:e-?mail|message|sender).{0,60}(?:outside|external)|registered in england|"
    r"please consider the environment|think before you print|"
    r"(?:hinweis\s*: )?(?:diese|der inhalt dieser|die information(?:en)? in dieser) (?:e-?mail|nachricht)\b.{0,120}?"
    r"(?:vertraulich|rechtlich geschützt|ausschließlich für|nur für den|auf viren (?:ge|über)prüft)|"
    r"(?:(?:achtung|vorsicht|extern)\W{1,3})?diese (?:e-?mail|nachricht) (?:kommt|stammt|wurde) von "
    r"(?:einem |außerhalb).{0,20}(?:extern|organisation|unternehmen)|"
    r"(?:wenn|falls|sollten) sie nicht der (?:richtige|beabsichtigte|vorgesehene)|"
    r"(?:wenn|falls|sollten) sie diese (?:e-?mail|nachricht) irrtümlich|"
    r"(?:das|die|jede) (?:unerlaubte|unbefugte|unberechtigte).{0,60}(?:e-?mail|mail|nachricht|informationen)|"
    r"bitte (?:prüfen|überlegen) sie.{0,60}(?:e-?mail|nachricht).{0,60}(?:druck|papier)|"
    r"bitte denken sie an (?:die|unsere) umwelt|virenfrei\.|haftungsausschluss\s*:|vertraulichkeitshinweis"
    r")",
    re.IGNORECASE | re.DOTALL,
)
LEGAL = re.compile(  # what German law wants in a company's mail
    r"\b(?:(gmbh|ag|se|kg|ug)\b|(geschäftsführ(?:er|ung)|vorstand)\b|(aufsichtsrat)|(amtsgericht|registergericht)\b|"
    r"(hr[ab]\s?\d)|(sitz der gesellschaft|firmensitz)|(ust\.?-?id|steuernummer))",
    re.IGNORECASE,
)


def _is_imprint(paragraph: str) -> bool:
    """Tells whether a paragraph has at least three of the things that a company's mail must state."""
    return "?" not in paragraph and len({match.lastindex for match in LEGAL.finditer(paragraph)}) >= 3


def _cut_footers(lines: list[str]) -> list[str]:
    paragraphs = [p for p in "\n".join(lines).split("\n\n") if not FOOTER.match(p)]
    while paragraphs and _is_imprint(paragraphs[-1]):
        paragraphs.pop()
    return "\n\n".join(paragraphs).split("\n")


# -- together ---------------------------------------------------------------------------------------------------------

# One of these, in lower case, is in every text that a cut above would change: most texts have none and skip the work.
QUOTE_SIGNS = (">", "wrote", "schrieb", "---", "___", "from:", "von:", "##-")
FOOTER_SIGNS = (
    "confidential", "privileged", "intended", "disclaimer", "received this", "environment", "print", "virus", "scanned",
    "unauthori", "outside", "extern", "registered in", "vertraulich", "geschützt", "ausschließlich", "nur für", "viren",
    "außerhalb", "nicht der", "umwelt", "irrtümlich", "unerlaubt", "unbefugt", "unberechtigt", "druck", "papier",
    "haftungs", "gericht", "hrb", "hra", "geschäftsführ", "vorstand",
)  # fmt: skip
SIGNATURE_SIGNS = (
    "\n--", "sent ", "gesendet", "outlook", "_____", "=====", "*****", "gruß", "grüß", "gruss", "gruess", "mfg", "\nlg",
    "\nvg", "hochachtung", "regards", "wishes", "\nbest", "cheers", "sincerely", "faithfully", "truly", "thank",
    "danke",
)  # fmt: skip
PASSES = 20  # a mail has two or three layers; a megabyte of signatures shall not take as many passes as it has
Cut = tuple[Sequence[str], Callable[[list[str]], list[str]]]
QUOTES: Cut = (QUOTE_SIGNS, _cut_quotes)
FOOTERS: Cut = (FOOTER_SIGNS, _cut_footers)
SIGNATURE: Cut = (SIGNATURE_SIGNS, _cut_signature)


def _cut(text: str, cuts: Sequence[Cut]) -> str:
    """Makes the cuts, again for as long as they change something: above a footer there may be another signature."""
    for _ in range(PASSES):
        before, low = text, "\n" + text.lower()
        for signs, cut in cuts:
            if any(sign in low for sign in signs):
                text = tidy("\n".join(cut(text.split("\n")))) or text
        if text == before:
            break
    return text


def answer_words(text: str) -> str:
    """Returns an agent's answer without quoted messages and legal footers; who signed it stays. For LF line ends."""
    return _cut(text, [QUOTES, FOOTERS])


def own_words(text: str) -> str:
    """Returns a customer's message without quoted replies, legal footers, device line and signature: what follows
    `--`, or a closing or a rule if it tells how to reach someone."""
    return _cut(text, [QUOTES, SIGNATURE, FOOTERS])
