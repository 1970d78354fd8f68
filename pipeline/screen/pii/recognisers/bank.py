"""IBANs and card numbers, by their checksums, in whatever groups they are written.

Output contract: an IBAN is the country's length and form and its checksum, in groups of any size with a space, dot,
hyphen or line break between them, in any letter case. A card number has a scheme's prefix and length and satisfies
Luhn, in groups of four (or Amex's 4-6-5), in pairs, in single digits or in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from presidio_analyzer import Pattern
from presidio_analyzer.predefined_recognizers import CreditCardRecognizer
from presidio_analyzer.predefined_recognizers.generic.iban_patterns import regex_per_country

from pipeline.screen.pii.recognisers.span_recogniser import Span, SpanRecognizer

_FORMS = {country: re.compile(form) for country, form in regex_per_country.items()}
_BETWEEN = r"[ .\n-]{0,2}"
_IBAN = re.compile(
    rf"(?:(?<![A-Za-z0-9])|(?<=IBAN))[A-Za-z]{{2}}{_BETWEEN}[0-9]{{2}}(?:{_BETWEEN}[A-Za-z0-9]){{11,34}}"
)
SHORTEST_IBAN = 15
IBAN_PREFILTER = (  # RE2: digits behind the check digits, or four letters of a bank before them, or capitals throughout
    rf"[A-Za-z]{{2}}{_BETWEEN}[0-9]{{2}}(?:{_BETWEEN}[a-z]){{0,4}}(?:{_BETWEEN}[0-9]){{8}}"
    rf"|[A-Z]{{2}}{_BETWEEN}[0-9]{{2}}(?:{_BETWEEN}[A-Z0-9]){{11}}"
)
_LIKELY = re.compile(IBAN_PREFILTER)


class IbanRecognizer(SpanRecognizer):
    """IBANs."""

    KIND = "IBAN_CODE"

    def spans(self, text: str) -> Iterator[Span]:
        """Yields each candidate's longest beginning that is an IBAN."""
        position = 0
        while match := _IBAN.search(text, position):
            end = _end(text, match) if _LIKELY.match(text, match.start()) else None
            position = end or match.start() + 1
            if end:
                yield match.start(), end, 1.0


def _end(text: str, match: re.Match[str]) -> int | None:
    """Returns where the IBAN ends that begins where a candidate does, None where there is none."""
    places = [place for place in range(*match.span()) if text[place].isalnum()]
    compact = "".join(text[place] for place in places).upper()
    form = _FORMS.get(compact[:2])
    for length in range(min(len(compact), 34), SHORTEST_IBAN - 1, -1) if form else ():
        stop = places[length - 1] + 1
        inside = text[stop : stop + 1].isascii() and text[stop : stop + 1].isalnum()
        if not inside and _is_valid(compact[:length]) and form is not None and form.fullmatch(compact[:length]):
            return stop
    return None


def _is_valid(iban: str) -> bool:
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 == 1


_SEP = "[- ./]{0,2}"
_GROUPS = f"{_SEP}[0-9]{{4}}{_SEP}[0-9]{{4}}{_SEP}[0-9]{{4}}"
CARDS = [  # the schemes' own prefixes and lengths, all held to Luhn by Presidio's recogniser
    Pattern("Visa", rf"\b4[0-9]{{3}}{_GROUPS}(?:[- ]?[0-9]{{3}})?\b|\b4[0-9]{{12}}\b", 0.3),
    Pattern(
        "Mastercard",
        rf"\b(?:5[1-5][0-9][0-9]|22(?:2[1-9]|[3-9][0-9])|2[3-6][0-9][0-9]|27(?:[01][0-9]|20)){_GROUPS}\b",
        0.3,
    ),
    Pattern(
        "American Express",
        rf"\b3[47][0-9][0-9](?:{_SEP}[0-9]{{6}}{_SEP}[0-9]{{5}}|{_SEP}[0-9]{{4}}{_SEP}[0-9]{{4}}{_SEP}[0-9]{{3}})\b",
        0.3,
    ),
    Pattern("Diners Club", rf"\b3(?:0[0-5]|[689][0-9])[0-9]{_SEP}[0-9]{{6}}{_SEP}[0-9]{{4}}\b", 0.3),
    Pattern("Discover, UnionPay", rf"\b(?:6011|6[245][0-9][0-9]){_GROUPS}(?:[- ]?[0-9]{{1,3}})?\b", 0.3),
    Pattern("JCB", rf"\b35[0-9][0-9]{_GROUPS}\b|\b(?:2131|1800)[0-9]{{11}}\b", 0.3),
    Pattern(
        "Maestro",
        r"\b(?:50(?:18|20|38)|5893|6304|6759|676[123])[- ]?[0-9]{4}[- ]?[0-9]{4}(?:[- ]?[0-9]{1,4}){0,2}\b",
        0.3,
    ),
    Pattern("in single digits", r"(?<![0-9] )\b[3-6](?:[ .-][0-9]){14,15}\b(?! [0-9])", 0.3),
    Pattern("in pairs", r"(?<![0-9][ .-])\b(?:4[0-9]|5[1-5]|35|6[245])(?:[ .-][0-9]{2}){7}\b(?![ .-][0-9])", 0.3),
]
CARD_NAMED = Pattern(  # Maestro's whole range, 12 digits and more: anywhere it would pass one in ten order numbers
    "Maestro after its name",
    r"\b(?=(?:5[06-9]|6[0-9])(?:[- ]?[0-9]){10,17}\b)(?<=(?:card|karte|maestro)[^0-9\n]{0,24})"
    r"[0-9](?:[- ]?[0-9]){11,18}\b",
    0.3,
)
CARD_PREFILTER = (  # RE2
    "|".join(re.sub(r"\(\?<?!(?:[^()]|\([^)]*\))*\)", "", card.regex) for card in CARDS)
    + "|(?i:card|karte|maestro)[^0-9\n]{0,24}[56][0-9](?:[- ]?[0-9]){10}"
)
_SEPARATORS = [(separator, "") for separator in "- ./"]


def card_recogniser(language: str) -> CreditCardRecognizer:
    """Returns Presidio's recogniser with the schemes' patterns."""
    return CreditCardRecognizer(
        supported_language=language, patterns=[*CARDS, CARD_NAMED], replacement_pairs=_SEPARATORS
    )
