"""The Presidio recognisers of a language, and for each the cheap condition without which it cannot find anything.

Output contract: `recognisers(language)` returns new Presidio recognisers, one per type of `NEEDS`; where
`NEEDS[type]` does not match a text, that type's recogniser finds nothing in it (tests hold them to it). They work
without network, model or context words: every pattern either carries a checksum or is specific enough.
Presidio's own are used as they are or with more patterns; three are ours because Presidio's are not right for support
text: its phone matcher takes `2147483647` and `35984-2` for numbers and misses labelled ones, its e-mail recogniser
downloads a suffix list, its tax id knows one notation and lets 10 % of random numbers pass.
This module imports Presidio: import it inside the function that needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import phonenumbers
import tldextract
from presidio_analyzer import LocalRecognizer, Pattern, PatternRecognizer, RecognizerResult
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    DeTaxIdRecognizer,
    DeVatIdRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
)

REGIONS = ("DE", "AT", "CH", "GB", "FR", "IT", "ES", "NL", "PL", "US")  # where a number without +… may be from

ANY = re.compile(r"[@\d]|::|://")  # without one of these no recogniser finds anything
NEEDS = {
    "EMAIL_ADDRESS": re.compile("@"),
    "IBAN_CODE": re.compile(r"[0-9]{2}(?<=[A-Za-z]{2}[0-9]{2})[ -]?[A-Za-z0-9]{4}"),
    "PHONE_NUMBER": re.compile(r"\d(?:[^\d\n]{0,3}\d){6}"),
    "CREDIT_CARD": re.compile(r"\d{4}[- ]?\d{4}[- ]?\d{2}"),
    "IP_ADDRESS": re.compile(r"::|:[0-9A-Fa-f]{1,4}:|\d\.\d{1,3}\.\d{1,3}\.\d"),
    "URL_CREDENTIALS": re.compile("://"),
    "DE_TAX_ID": re.compile(r"\d{2}[ /.-]?\d{3}[ /.-]?\d{3}[ /.-]?\d{3}"),
    "DE_VAT_ID": re.compile(r"[Dd][Ee][\s.-]?\d{3}"),
}

LOWER_IBAN = Pattern(  # three groups, as Presidio's IBAN recogniser expects them
    "IBAN in lower case",
    r"(?<![A-Za-z0-9])([a-z]{2}[0-9]{2}(?:[a-z0-9]{11,30}|(?:[ -][0-9]{4}){3,6}))((?:[ -][0-9]{1,3})?)()"
    r"(?![A-Za-z0-9])",
    0.5,
)
_GROUPS = r"[- ]?\d{4}[- ]?\d{4}[- ]?\d{4}"
CARDS = [  # the schemes' own prefixes and lengths, all held to Luhn by Presidio's recogniser
    Pattern("Visa", rf"\b4\d{{3}}{_GROUPS}(?:[- ]?\d{{3}})?\b|\b4\d{{12}}\b", 0.3),
    Pattern("Mastercard", rf"\b(?:5[1-5]\d\d|22(?:2[1-9]|[3-9]\d)|2[3-6]\d\d|27(?:[01]\d|20)){_GROUPS}\b", 0.3),
    Pattern("American Express", r"\b3[47]\d\d[- ]?\d{6}[- ]?\d{5}\b", 0.3),
    Pattern("Diners Club", r"\b3(?:0[0-5]|[689]\d)\d[- ]?\d{6}[- ]?\d{4}\b", 0.3),
    Pattern("Discover, UnionPay", rf"\b(?:6011|6[245]\d\d){_GROUPS}(?:[- ]?\d{{1,3}})?\b", 0.3),
    Pattern("JCB", rf"\b35\d\d{_GROUPS}\b|\b(?:2131|1800)\d{{11}}\b", 0.3),
    Pattern("Maestro", r"\b(?:50(?:18|20|38)|5893|6304|6759|676[123])[- ]?\d{4}[- ]?\d{4}(?:[- ]?\d{1,4}){0,2}\b", 0.3),
]


def recognisers(language: str) -> list[Any]:
    """Returns new recognisers that answer to `language`; what they find does not depend on it."""
    kinds = (OfflineEmailRecognizer, TelephoneRecognizer, IpRecognizer, CredentialsRecognizer, SpacedTaxIdRecognizer)
    return [
        *(kind(supported_language=language) for kind in kinds),
        IbanRecognizer(supported_language=language, patterns=[*IbanRecognizer.PATTERNS, LOWER_IBAN]),
        CreditCardRecognizer(supported_language=language, patterns=CARDS),
        DeVatIdRecognizer(supported_language=language, strict_checksum=True),
    ]


class OfflineEmailRecognizer(EmailRecognizer):  # type: ignore[misc]
    """Presidio's, with the suffix list that tldextract ships instead of the one it would download."""

    def validate_result(self, pattern_text: str) -> bool:
        return bool(_suffixes()(pattern_text).fqdn)


@cache
def _suffixes() -> Any:
    """Returns the one extractor of the process: building its table takes a quarter of a second."""
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

    PATTERNS = (Pattern("Steuer-ID", r"(?<![\w.,-])[1-9]\d([ /.-]?)\d{3}\1\d{3}\1\d{3}(?![\w-])(?![.,]\d)", 0.5),)

    def __init__(self, supported_language: str) -> None:
        super().__init__(patterns=list(self.PATTERNS), supported_language=supported_language)

    def validate_result(self, pattern_text: str) -> bool:
        digits = re.sub(r"\D", "", pattern_text)
        repeats = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
        single = len(repeats) >= 8 and repeats[-1] in (2, 3) and repeats[-2] == 1
        return single and bool(super().validate_result(digits))


class TelephoneRecognizer(LocalRecognizer):  # type: ignore[misc]
    """Phone numbers in the forms people write, checked by libphonenumber.

    International (`+49 …`, `0049 …`), national with its zero (`030 …`, `0171/…`), American (`212-555-0123`), and
    digits after a word for telephone. International, American and labelled (`Tel.: …`) ones need a possible length, the
    rest a valid number of one of `REGIONS`. Digits that follow a word for order, ticket, invoice, … are not one.
    """

    SCORE = 0.4
    SEPARATED = r"(?:(?: ?\(0\) ?|[ ./()–-]{1,3})?\d)"
    END = r"(?: ?(?:x|ext\.?|Durchwahl) ?\d{1,5})?(?!\w|-\w*\d)"
    FRESH = r"(?<!\d[ -])"  # not inside a longer number written in groups
    INTERNATIONAL = re.compile(rf"(?<![\w+])\(?(?:\+ ?\(?|{FRESH}00)[1-9]{SEPARATED}{{6,15}}{END}")
    NATIONAL = re.compile(rf"(?<![\w.,:/+#-]){FRESH}\(?0[1-9]{SEPARATED}{{5,12}}{END}")
    AMERICAN = re.compile(
        rf"(?<![\w.,:/+#-]){FRESH}(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])\d{{3}}[ .-]\d{{4}}{END}"
    )
    BARE = re.compile(rf"(?<![\w.,+#-])\(?\d{SEPARATED}{{6,11}}{END}")
    LABEL = re.compile(  # "Tel.: ", "phone number is "
        r"(?:phone|tel|mobile?|handy|fax|telefon|rufnummer|whatsapp)(?:number|nummer)?(?: ?(?:number|nummer|no|nr))?"
        r"\.?(?: is| ist| lautet)?:?\s{0,2}$",
        re.IGNORECASE,
    )
    CALL = re.compile(
        r"(?:phone|\btel|mobile|\bcell|call|handy|mobil|rufnummer|anruf|whatsapp|\bfax|erreich|reach)[^\d\n]{0,32}$",
        re.IGNORECASE,
    )
    REFERENCE = re.compile(
        r"(?:order|ticket|case|invoice|article|item|customer|reference|transaction|account|tracking|contract|iban|"
        r"bestell\w*|auftrags?\w*|rechnungs?\w*|kunden\w*|vorgangs?\w*|artikel\w*|konto\w*|referenz\w*|sendungs?\w*|"
        r"vertrags?\w*)[ -]?(?:number|no|nr|nummer|id)?\.?(?: is| ist| lautet)?:? ?#?\(?$",
        re.IGNORECASE,
    )
    DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-](?:(?:19|20)\d\d|\d\d(?![./ -]?\d))")

    def __init__(self, supported_language: str) -> None:
        super().__init__(supported_entities=["PHONE_NUMBER"], supported_language=supported_language)

    def load(self) -> None:
        """Nothing to load: the numbering plans are part of phonenumbers."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[Any]:
        spans = dict.fromkeys(self._spans(text))
        return [
            RecognizerResult(
                entity_type="PHONE_NUMBER",
                start=start,
                end=end,
                score=self.SCORE,
                recognition_metadata={
                    RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
                    RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
                },
            )
            for start, end in spans
        ]

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        for match in self.INTERNATIONAL.finditer(text):
            yield from self._accepted(text, *match.span(), (None,), valid=match.group().lstrip("(").startswith("00"))
        for match in self.AMERICAN.finditer(text):
            yield from self._accepted(text, *match.span(), ("US",), valid=False)
        for match in self.NATIONAL.finditer(text):
            long = re.search(r"\D", match.group()) or len(match.group()) >= 9
            if long and not self.DATE.match(match.group()) and not self.REFERENCE.search(_before(text, match)):
                yield from self._accepted(text, *match.span(), REGIONS, valid=True)
        for match in self.BARE.finditer(text):
            before = _before(text, match)
            if self.LABEL.search(before):
                yield from self._accepted(text, *match.span(), REGIONS, valid=False)
            elif self.CALL.search(before) and not (self.REFERENCE.search(before) or self.DATE.match(match.group())):
                yield from self._accepted(text, *match.span(), REGIONS, valid=True)

    def _accepted(
        self, text: str, start: int, end: int, regions: tuple[str | None, ...], valid: bool
    ) -> Iterator[tuple[int, int]]:
        """Yields the longest beginning of the candidate, cut between its groups of digits, that is a phone number."""
        while sum(char.isdigit() for char in text[start:end]) >= 7:
            number = re.sub(r"^\(?00", "+", text[start:end]) if regions == (None,) else text[start:end]
            if any(_is_number(number, region, valid) for region in regions):
                yield start, end
                return
            shorter = re.search(r"\D+\d+\D*$", text[start:end])
            if shorter is None:
                return
            end = start + shorter.start()


def _before(text: str, match: re.Match[str]) -> str:
    return text[max(0, match.start() - 48) : match.start()]


def _is_number(number: str, region: str | None, valid: bool) -> bool:
    try:
        parsed = phonenumbers.parse(number.replace("(0)", ""), region)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_valid_number(parsed) if valid else phonenumbers.is_possible_number(parsed))
