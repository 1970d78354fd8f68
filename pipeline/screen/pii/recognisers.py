"""The Presidio recognisers of a language, and for each a cheap prefilter that matches wherever it finds anything.

Output contract: `recognisers(language, patterns)` returns new Presidio recognisers, one per type of `PREFILTERS` and
one per configured type; where the RE2 expression `PREFILTERS[type]` does not match a text, that type's recogniser
finds nothing in it (a test checks this). They work without network, model or context words: every pattern carries a
checksum, a label before it, or is specific enough.
Presidio's own are used as they are or with more patterns. Some are ours because Presidio's are not right for support
text: its phone matcher (see `telephone`); its e-mail recogniser downloads a suffix list; its tax id knows one notation
and lets 10 % of random numbers pass; its identity card takes the ninth character for the check digit, which is the
tenth (specimen card: number L01X00T47, machine-readable L01X00T471), so it refuses nine in ten real ones.
Digits are those of ASCII: Presidio's checksums raise `ValueError` for digits that are younger than Python's tables.
This module imports Presidio: import it inside the function that needs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import regex
import tldextract
from presidio_analyzer import Pattern, PatternRecognizer
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    DeTaxIdRecognizer,
    DeVatIdRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
)

from pipeline.screen.pii.telephone import PREFILTER as TELEPHONE_PREFILTER
from pipeline.screen.pii.telephone import TelephoneRecognizer

_GROUPS = r"[- ]?[0-9]{4}[- ]?[0-9]{4}[- ]?[0-9]{4}"
CARDS = [  # the schemes' own prefixes and lengths, all held to Luhn by Presidio's recogniser
    Pattern("Visa", rf"\b4[0-9]{{3}}{_GROUPS}(?:[- ]?[0-9]{{3}})?\b|\b4[0-9]{{12}}\b", 0.3),
    Pattern(
        "Mastercard",
        rf"\b(?:5[1-5][0-9][0-9]|22(?:2[1-9]|[3-9][0-9])|2[3-6][0-9][0-9]|27(?:[01][0-9]|20)){_GROUPS}\b",
        0.3,
    ),
    Pattern("American Express", r"\b3[47][0-9][0-9][- ]?[0-9]{6}[- ]?[0-9]{5}\b", 0.3),
    Pattern("Diners Club", r"\b3(?:0[0-5]|[689][0-9])[0-9][- ]?[0-9]{6}[- ]?[0-9]{4}\b", 0.3),
    Pattern("Discover, UnionPay", rf"\b(?:6011|6[245][0-9][0-9]){_GROUPS}(?:[- ]?[0-9]{{1,3}})?\b", 0.3),
    Pattern("JCB", rf"\b35[0-9][0-9]{_GROUPS}\b|\b(?:2131|1800)[0-9]{{11}}\b", 0.3),
    Pattern(
        "Maestro",
        r"\b(?:50(?:18|20|38)|5893|6304|6759|676[123])[- ]?[0-9]{4}[- ]?[0-9]{4}(?:[- ]?[0-9]{1,4}){0,2}\b",
        0.3,
    ),
]

CARD_NAMED = Pattern(  # Maestro's whole range, 12 digits and more: anywhere it would pass one in ten order numbers
    "Maestro after its name",
    r"\b(?=(?:5[06-9]|6[0-9])(?:[- ]?[0-9]){10,17}\b)(?<=(?:card|karte|maestro)[^0-9\n]{0,24})"
    r"[0-9](?:[- ]?[0-9]){11,18}\b",
    0.3,
)
VAT_ID = Pattern("USt-IdNr.", r"\bDE[\s.-]?[0-9]{3}[\s.-]?[0-9]{3}[\s.-]?[0-9]{3}\b", 0.4)
_ID = "CFGHJKLMNPRTVWXYZ"  # the letters of document numbers: none that reads like a digit or makes a word
_CARD_WORD = r"(?:personalausweis|ausweis|reisepass|identity card|id card|passport)\w*|perso"
_TAX = "|".join(f"[1-9][0-9](?:{gap}[0-9]{{3}}){{3}}" for gap in ("", " ", "/", "[.]", "-"))
PREFILTERS = {  # RE2 syntax: pyarrow runs them over whole columns
    "EMAIL_ADDRESS": "@",
    "PHONE_NUMBER": TELEPHONE_PREFILTER,
    "IP_ADDRESS": r"::|(?:[0-9A-Fa-f]{1,4}:){6}|[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
    "URL_CREDENTIALS": "://",
    "DE_TAX_ID": rf"(?:^|[^\w.,-])(?:{_TAX})(?:[^\w-]|$)",
    "DE_ID_CARD": rf"[{_ID}][0-9{_ID}]{{8}}[0-9]|[0-9]{{10}} ?D|"
    rf"(?i:(?:{_CARD_WORD})\S*[^0-9\n]{{0,30}}[0-9{_ID}]{{9}})",
    "IBAN_CODE": r"[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2}|[a-z]{2}[0-9]{2}(?:[a-z0-9]{11}|(?:[ -][0-9]{4}){3})",
    "CREDIT_CARD": "|".join(card.regex for card in CARDS)
    + "|(?i:card|karte|maestro)[^0-9\n]{0,24}[56][0-9](?:[- ]?[0-9]){10}",
    "DE_VAT_ID": r"(?i)\bDE[\s.-]?[0-9]{3}",
}
ANY_PREFILTER = "|".join(  # matches where one of `PREFILTERS` does, and costs no more than one of them
    (
        "@",
        "://",
        "[0-9](?:[^0-9]{0,3}[0-9]){6}",
        PREFILTERS["IP_ADDRESS"],
        PREFILTERS["IBAN_CODE"],
        rf"(?i:[0-9{_ID}]{{9}})",
    )
)


LOWER_IBAN = Pattern(  # three groups, as Presidio's IBAN recogniser expects them
    "IBAN in lower case",
    r"(?<![A-Za-z0-9])([a-z]{2}[0-9]{2}(?:[a-z0-9]{11,30}|(?:[ -][0-9]{4}){3,6}))((?:[ -][0-9]{1,3})?)()"
    r"(?![A-Za-z0-9])",
    0.5,
)


def recognisers(language: str, patterns: Mapping[str, Sequence[str]] | None = None) -> list[Any]:
    """Returns new recognisers registered for `language`; their findings do not depend on it.

    `patterns`: type -> regular expressions of the project's own (customer and contract numbers). Context words are
    off: with a model Presidio would raise scores by them that are over the threshold anyway.
    """
    result = [
        OfflineEmailRecognizer(supported_language=language),
        TelephoneRecognizer(language),
        IpRecognizer(supported_language=language),
        CredentialsRecognizer(language),
        SpacedTaxIdRecognizer(language),
        IdentityCardRecognizer(language),
        IbanRecognizer(supported_language=language, patterns=[*IbanRecognizer.PATTERNS, LOWER_IBAN]),
        CreditCardRecognizer(supported_language=language, patterns=[*CARDS, CARD_NAMED]),
        DeVatIdRecognizer(supported_language=language, patterns=[VAT_ID], strict_checksum=True),
        *(configured(name, expressions, language) for name, expressions in (patterns or {}).items()),
    ]
    for recogniser in result:
        recogniser.context = None
    return result


_AS_PRESIDIO = regex.DOTALL | regex.MULTILINE | regex.IGNORECASE  # its default flags for an allow list


def allowed(words: Sequence[str]) -> list[str]:
    """Returns `curate.pii.allow_list` as Presidio's `allow_list` takes it with `allow_list_match="regex"`.

    A finding is allowed as a whole, in any letter case: `Pfennigo` allows neither `Pfennigo Weber` nor a part of it.
    """
    return [rf"\A(?:{regex.escape(word)})\Z" for word in words]


def is_allowed(words: Sequence[str]) -> Callable[[str], Any]:
    """Returns a search that matches a finding's text where it is allowed, as Presidio's does."""
    if not words:
        return lambda _: None
    search: Callable[[str], Any] = regex.compile("|".join(allowed(words)), _AS_PRESIDIO).search
    return search


def configured(name: str, expressions: Sequence[str], language: str) -> Any:
    """Returns a recogniser for a type of the project's own; a match is certain (score 1.0), letter case is ignored."""
    patterns = [Pattern(f"{name} {number}", text, 1.0) for number, text in enumerate(expressions, 1)]
    return PatternRecognizer(name, name=name, patterns=patterns, supported_language=language)


def expressions(recogniser: Any) -> list[Callable[[str], Any]]:
    """Returns the searches without which a `configured` recogniser finds nothing: its own expressions."""
    return [regex.compile(pattern.regex, recogniser.global_regex_flags).search for pattern in recogniser.patterns]


class OfflineEmailRecognizer(EmailRecognizer):  # type: ignore[misc]
    """Presidio's, with the suffix list that tldextract ships instead of the one it would download."""

    def validate_result(self, pattern_text: str) -> bool:
        """Returns whether the address ends in a public suffix, by the list that tldextract carries."""
        return bool(_suffixes()(pattern_text).fqdn)


@cache
def _suffixes() -> Any:
    """Returns the process's one extractor: building its table takes a quarter of a second."""
    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


class CredentialsRecognizer(PatternRecognizer):  # type: ignore[misc]
    """URLs that carry a user's password, or a token or key in their query; the whole URL is the finding."""

    PATTERNS = (
        Pattern("user:password@host", r"\b[a-z][a-z0-9+.-]{1,15}://[^\s/@:<>\"']*:[^\s/@<>\"']+@[^\s<>\"']+\b/?", 1.0),
        Pattern(
            "secret in the query",
            r"\b[a-z][a-z0-9+.-]{1,15}://[^\s?<>\"']+\?(?:[^\s<>\"']*[&;])?(?:(?:access|auth|id|refresh|api|reset|csrf)[_-]?)?"
            r"(?:token|key|apikey|password|passwd|pwd|secret|sig|signature|session(?:_?id)?|jwt)=[^\s&<>\"']{4,}"
            r"[^\s<>\"']*",
            1.0,
        ),
    )

    def __init__(self, supported_language: str) -> None:
        super().__init__(
            supported_entity="URL_CREDENTIALS", patterns=list(self.PATTERNS), supported_language=supported_language
        )


class SpacedTaxIdRecognizer(DeTaxIdRecognizer):  # type: ignore[misc]
    """The German Steuer-ID, also as `12 345 678 901`, held to the rule for its first ten digits.

    One of them occurs twice or three times, the others once at most (Bundeszentralamt für Steuern). Presidio lets any
    digit repeat; with the rule, 0.4 % of random 11-digit numbers pass instead of 10 %.
    """

    PATTERNS = (
        Pattern("Steuer-ID", r"(?<![\w.,-])[1-9][0-9]([ /.-]?)[0-9]{3}\1[0-9]{3}\1[0-9]{3}(?![\w-])(?![.,][0-9])", 0.5),
    )

    def __init__(self, supported_language: str) -> None:
        super().__init__(patterns=list(self.PATTERNS), supported_language=supported_language)

    def validate_result(self, pattern_text: str) -> bool:
        """Returns whether the number, blanks aside, repeats digits as a German tax id must and meets its checksum."""
        digits = re.sub(r"\D", "", pattern_text)
        repeats = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
        single = len(repeats) >= 8 and repeats[-1] in (2, 3) and repeats[-2] == 1
        return single and bool(super().validate_result(digits))


class IdentityCardRecognizer(PatternRecognizer):  # type: ignore[misc]
    """The number of a German identity card or passport: nine characters, and a tenth as check digit (ICAO 9303).

    Since 2010 letters and digits, before ten digits and a `D`. With check digit it is found anywhere; the nine
    characters alone, as they are printed on the card, and ten digits without the `D` only after a word for the card.
    """

    _LABEL = (  # looked back for last: it costs most
        r"(?<=\b(?i:(?:personalausweis|ausweis|reisepass|identity card|id card|passport)\w*|perso)\b[^\d\n]{0,30})"
    )
    _START = r"(?<![\w-])"
    _NINE = r"[CFGHJKLMNPRTVWXYZ][0-9CFGHJKLMNPRTVWXYZ]{8}"
    _ANY_CASE = r"[CFGHJKLMNPRTVWXYZcfghjklmnprtvwxyz][0-9CFGHJKLMNPRTVWXYZcfghjklmnprtvwxyz]{8}"
    PATTERNS = (
        Pattern("serial and check digit", rf"{_START}(?=[A-Z]*[0-9]){_NINE}[0-9]D?\b(?!-)", 0.5),
        Pattern("old serial, check digit, D", rf"{_START}[0-9]{{10}} ?D\b", 0.5),
        Pattern("serial after its name", rf"{_START}(?={_ANY_CASE}\b)(?=[A-Za-z]*[0-9]){_LABEL}\w{{9}}", 0.6),
        Pattern("old serial after its name", rf"{_START}(?=[0-9]{{10}}(?![\w-])){_LABEL}[0-9]{{10}}", 0.5),
    )
    _VALUES = {char: value for value, char in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")}  # noqa: RUF012

    def __init__(self, supported_language: str) -> None:
        super().__init__(
            supported_entity="DE_ID_CARD",
            patterns=list(self.PATTERNS),
            supported_language=supported_language,
            global_regex_flags=re.MULTILINE,
        )

    def validate_result(self, pattern_text: str) -> bool | None:
        """Returns whether the check digit is right, None where there is none."""
        if len(pattern_text) == 9:
            return None
        weighted = (
            self._VALUES[char] * (7, 3, 1)[position % 3] for position, char in enumerate(pattern_text[:9].upper())
        )
        return sum(weighted) % 10 == int(pattern_text[9])
