"""Signatures, the lines of mail apps, and what else ends a mail without saying anything.

Output contract: `cut_signature` and `cut_app_lines` take lines and return those that stay; `says_something` tells
whether lines hold more than a greeting and a closing.
This module knows English and German mail. It takes nothing for a signature that holds a sentence or a question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SIGNATURE_LINES = 15  # a longer text is not a signature
RULE = re.compile(r"\s*[-_=*]{5,}\s*")

# -- mail apps --------------------------------------------------------------------------------------------------------

DEVICE = (
    r"(?:i-?phone|i-?pad|i-?pod|android|samsung|galaxy|huawei|xiaomi|redmi|oneplus|pixel|blackberry|nokia|handy|"
    r"smartphone|mobil(?:telefon|e|ger(?:ä|ae)t)?|phone|tablet|windows|unterwegs|fairphone|xperia|ger(?:ä|ae)t|telefon|"
    r"mac(?:book)?\b|watch)"
)
APP = (
    r"(?:e?-?mail\b|mail-app|outlook|yahoo|proton|gmx|web\.de|freenet|t-online|telekom|1&1|ionos|k-9|gmail|thunderbird|"
    r"bluemail|spark|edison|mailo|posteo|airmail|mailbird|em client|spike|aqua mail|mail\.com)"
)
NAMED = r"(?:\S{1,30} ){0,4}?"  # of a device: its maker or owner
AFTER = r"(?:[-, ]\s?(?:(?-i:[A-ZÄÖÜ0-9])\S{0,30}|ios|ipados|macos|mit|mit der|für|auf|über|von|aus|der|with|for|on|using|from|app|e-?mail|mail|mobile|phone|secure|smartphone|tablet|device|gerät|gesendet|versendet)){0,8}"  # noqa: E501
APP_LINE = re.compile(
    rf"[\s*_>]*(?:sent (?:from|via|with|by|using) (?:(?:my|a|an|the) )?{NAMED}(?:{DEVICE}|{APP}){AFTER}|"
    r"get outlook for .{2,20}|"
    rf"(?:diese (?:nachricht|e-?mail|mail) wurde )?(?:von|vom|mit|über|aus) (?:meine[mr]? |dem |der |einem )?"
    rf"{NAMED}(?:{DEVICE}|{APP}){AFTER} (?:gesendet|verschickt|versendet)|"
    rf"(?:diese (?:nachricht|e-?mail|mail) wurde )?(?:gesendet|verschickt|versendet) (?:von|vom|mit|über|aus|via|per) "
    rf"(?:meine[mr]? |der |dem |einem )?{NAMED}(?:{DEVICE}|{APP}){AFTER}|"
    r"(?:holen sie sich |hol dir |laden sie )?outlook für .{2,20}?(?: (?:beziehen|herunter(?:laden)?|holen))?|"
    r"(?:hol(?:en sie sich| dir)|erhalten sie|get) (?:bluemail|typeapp|spark|aqua mail) .{2,40})"
    r"\s*[.!]?[\s*_]*(?:<http[^>]*>|\(?https?://\S*)?\s*",
    re.IGNORECASE,
)

APP_SIGNS = ("sent ", "gesendet", "verschickt", "versendet", "outlook", "bluemail", "typeapp", "spark", "aqua mail")


def cut_app_lines(lines: Sequence[str]) -> list[str]:
    """Returns the lines without `Sent from my iPhone` and its like."""
    kept = [line for line in lines if len(line) > 160 or not APP_LINE.fullmatch(line)]
    if len(kept) < len(lines):
        while kept and kept[-1].strip() in ("", "--"):
            kept.pop()  # the mark of a signature that was an app's line alone
    return kept


# -- signatures -------------------------------------------------------------------------------------------------------

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
HEADER = re.compile(r"\**(?:from|von|sent|gesendet|to|an|subject|betreff):\**\s", re.IGNORECASE)  # of another mail
POSTSCRIPT = re.compile(r"\s*p\.?\s?s\b", re.IGNORECASE)
LEGAL = re.compile(  # what German law wants in a company's mail
    r"\b(?:(gmbh|ag|se|kg|ug)\b|(geschäftsführ(?:er|ung)|vorstand)\b|(aufsichtsrat)|(amtsgericht|registergericht)\b|"
    r"(hr[ab]\s?\d)|(sitz der gesellschaft|firmensitz)|(ust\.?-?id|steuernummer))",
    re.IGNORECASE,
)
SIGNATURE_SIGNS = (  # one of these, in lower case, is in every text that the cut would change
    "\n--", "_____", "=====", "*****", "gruß", "grüß", "gruss", "gruess", "mfg", "\nlg", "\nvg",
    "hochachtung", "regards", "wishes", "\nbest", "cheers", "sincerely", "faithfully", "truly", "thank", "danke",
)  # fmt: skip
SMALL_WORDS = frozenset(
    {
        "von",
        "vom",
        "zu",
        "zur",
        "zum",
        "der",
        "die",
        "das",
        "den",
        "dem",
        "des",
        "und",
        "für",
        "im",
        "in",
        "of",
        "and",
        "the",
        "for",
    }
)
NAME_LINES, NAME_WORDS = 5, 5  # of a signature that gives no way to reach anyone


def _is_sentence(line: str) -> bool:
    return len(line.split()) > (4 if line[-1] in ".!…" else 9) and not LEGAL.search(line)


def _is_name(line: str) -> bool:
    """Tells whether a line may be a name, a post or a firm: a few words with capitals, or a single one."""
    words = line.split()
    if len(words) > NAME_WORDS or line[-1] in "?!:":
        return False
    if CLOSING.fullmatch(line):
        return True
    return len(words) == 1 or all(word.lower() in SMALL_WORDS or not word[:1].islower() for word in words)


def _is_signature(block: Sequence[str], names_alone: bool = False) -> bool:
    """Tells whether lines at the end of a mail are a name with how to reach it, or, with `names_alone`, just names."""
    lines = [line.strip() for line in block if line.strip()]
    if not 0 < len(lines) <= SIGNATURE_LINES:
        return False
    if any("?" in line or POSTSCRIPT.match(line) or HEADER.match(line) or _is_sentence(line) for line in lines):
        return False
    if any(CONTACT.search(line) for line in lines):
        return True
    return names_alone and len(lines) <= NAME_LINES and all(map(_is_name, lines))


def cut_signature(lines: Sequence[str]) -> Sequence[str]:
    """Returns the lines without a signature at the end: behind `--`, a closing or a rule."""
    for at in range(max(0, len(lines) - SIGNATURE_LINES - 1), len(lines)):
        if lines[at].rstrip() == "--" and _is_signature(lines[at + 1 :], names_alone=True):
            return lines[:at]
    for at in range(max(0, len(lines) - 2 * SIGNATURE_LINES), len(lines)):
        if CLOSING.fullmatch(lines[at]) and _is_signature(lines[at + 1 :]):
            return lines[: at + 1]  # the closing belongs to the letter
        if RULE.fullmatch(lines[at]) and _is_signature(lines[at + 1 :]):
            return lines[:at]
    return lines


# -- what is left -----------------------------------------------------------------------------------------------------

GREETING = re.compile(
    r"\W*(?:hallo|hi|hello|hey|dear|guten (?:tag|morgen|abend)|sehr geehrte[rs]?|liebe[rs]?|moin|servus|grüezi|"
    r"grüß gott|good (?:morning|afternoon|evening|day))\b(?:\s[\w.-]+){0,4}[,.!:]?\s*",
    re.IGNORECASE,
)
POINTER = re.compile(
    r"\W*(?:(?:bitte )?siehe (?:unten|anbei|anhang|mail|meine (?:mail|antwort|nachricht)).{0,20}|s\.\s?u\.?|"
    r"(?:please )?see (?:below|attached|my (?:mail|answer|reply)).{0,20}|fyi|zur (?:info(?:rmation)?|kenntnis)|wg|fwd?|"
    r"re|aw|anbei|wie (?:unten|besprochen)|as (?:below|discussed))\W*",
    re.IGNORECASE,
)
WORD = re.compile(r"\w+")
MANY = 200  # lines that are more than a greeting, whatever is in them


def says_something(lines: Iterable[str]) -> bool:
    """Tells whether lines hold three words, or a sentence of two, that are neither greeting, closing nor a pointer."""
    words, signed = 0, False
    for number, line in enumerate(lines):
        if number > MANY:
            return True
        if (
            not line
            or line.isspace()
            or GREETING.fullmatch(line)
            or POINTER.fullmatch(line)
            or APP_LINE.fullmatch(line)
        ):
            continue
        if CLOSING.fullmatch(line):
            signed = True
            continue
        if signed and len(line.split()) <= NAME_WORDS and line.rstrip()[-1] not in ".!?":
            continue  # a name
        words += len(WORD.findall(line[:200]))
        if words > 2 or (words == 2 and line.rstrip()[-1] in ".!?"):
            return True
    return False
