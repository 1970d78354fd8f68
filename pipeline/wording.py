"""The names of stages, reasons, languages and types of personal data in text for people.

Output contract: every identifier has a wording; one that is not listed is spelt out, so a new reason needs no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FUNNEL = {  # stage -> the rows that are left after it
    "rows read": "rows read",
    "read": "readable and complete",
    "exact": "after exact duplicates",
    "quality": "after quality checks",
    "language": "in the expected languages",
    "toxicity": "after toxicity",
    "dedup": "after near duplicates",
}
REASONS = {
    "unreadable": "cannot be parsed",
    "empty_prompt": "has no question",
    "empty_response": "has no answer",
    "unmarked": "has no message that its export marks as a public answer",
    "exact_duplicate": "has the same content as another row",
    "bounce": "a mail server's failure report",
    "auto_reply": "an automatic reply",
    "system_message": "a note of the ticket system",
    "template_answer": "answered by a canned receipt",
    "answer_repeats_question": "an answer that repeats the question",
    "answer_too_short": "too short an answer",
    "too_short": "too short",
    "too_long": "too long",
    "symbols": "mostly punctuation",
    "repeated_lines": "mostly repeated lines",
    "repeated_words": "mostly repeated words",
    "short_text": "too few letters to tell the language",
    "language": "not clearly in an expected language",
    "toxicity": "toxic",
    "near_duplicate": "nearly the same as a kept row",
    "empty_text": "has no words left",
}
REMOVED = {
    "quote": "quoted mails",
    "signature": "signatures, lines of mail apps",
    "footer": "footers",
    "markup": "tags, entities, comments",
    "escape": "written-out line breaks",
    "encoding": "broken or invisible characters",
    "whitespace": "white space",
    "repeated": "subjects that the text repeats",
}
LANGUAGES = {
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "it": "Italian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "sv": "Swedish",
    "tr": "Turkish",
    "unknown": "cannot be told",
}
PERSONAL = {
    "CREDIT_CARD": "card number",
    "DE_ID_CARD": "German identity card",
    "DE_TAX_ID": "German tax id",
    "DE_VAT_ID": "German VAT id",
    "EMAIL_ADDRESS": "e-mail address",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP address",
    "URL_CREDENTIALS": "URL with credentials",
}


def plain(name: str) -> str:
    """Returns an identifier as words."""
    return name.replace("_", " ")


def reason(name: str) -> str:
    """Returns the wording of the reason of a reject."""
    return REASONS.get(name, plain(name))


def language(code: str | None) -> str:
    """Returns a language's English name by its code; the code itself where it is unknown."""
    return LANGUAGES.get(code or "unknown", str(code))


def removed(kinds: Mapping[str, int]) -> str:
    """Returns what reading removed from a row, or from many, in characters by kind."""
    known = sorted(kinds, key=lambda kind: (kind not in REMOVED, [*REMOVED, kind].index(kind)))
    return ", ".join(f"{REMOVED.get(kind, plain(kind))} {kinds[kind]:,}" for kind in known)


def personal(kind: str) -> str:
    """Returns the wording of a type of personal data."""
    return PERSONAL.get(kind, plain(kind).lower())


def setting(value: object) -> str:
    """Returns a setting's value in words."""
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(setting, value)) if isinstance(value, list) else str(value)


def version(provenance: Mapping[str, Any]) -> str:
    """Returns the version that made the data, with the format of each stage where it is recorded."""
    formats = ", ".join(f"{stage} {number}" for stage, number in provenance.get("formats", {}).items())
    return f"solotune {provenance['version']}" + (f" (formats: {formats})" if formats else "")


def counted(count: int, one: str, many: str | None = None) -> str:
    """Returns `1 row`, `2 rows`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
