"""Phone numbers in the forms people write them, checked by libphonenumber.

Output contract: `TelephoneRecognizer` is a Presidio recogniser for PHONE_NUMBER; every finding holds seven digits or
more. Presidio's own phone matcher takes `2147483647` and `35984-2` for numbers and misses labelled ones.
This module imports Presidio: import it inside the function that needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import phonenumbers
from presidio_analyzer import LocalRecognizer, RecognizerResult

REGIONS = ("DE", "AT", "CH", "GB", "FR", "IT", "ES", "NL", "PL", "US")  # where a number without +… may be from

_SEPARATED = "(?:(?: ?[(]0[)] ?|[ ./()–-]{1,3})?[0-9])"
_END = "(?:[^0-9A-Za-z_]|[xeD]|$)"
_ROLES = "office|desk|direct|home|work|mobile?|cell|fax|phone|tel|b[üÜ]ro|zentrale|privat|dienstlich|durchwahl"
PREFILTER = "|".join(  # RE2 syntax; the recogniser's patterns as far as RE2 goes
    (
        rf"(?:^|[^\w+])[(]?(?:[+] ?[(]?|00)[1-9]{_SEPARATED}{{6,15}}{_END}",
        rf"(?:^|[^\w.,:/+#-])[(]?0[1-9]{_SEPARATED}{{5,12}}{_END}",
        r"(?:[(][2-9][0-9]{2}[)] ?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}",
        rf"(?i:{_ROLES}|handy|rufnummer|whatsapp|call|anruf|erreich|reach|answer|message|sms|text)[^0-9]{{0,33}}"
        rf"[0-9]{_SEPARATED}{{6,11}}{_END}",
        rf"[0-9]{_SEPARATED}{{6,11}}[^\n]{{0,20}}(?i:{_ROLES})",
    )
)


class TelephoneRecognizer(LocalRecognizer):  # type: ignore[misc]
    """Phone numbers in the forms people write, checked by libphonenumber.

    International (`+49 …`, `0049 …`), national with its zero (`030 …`, `0171/…`), American (`212-555-0123`), and
    digits after a word for telephone or before one (`… (office)`). International, American and labelled (`Tel.: …`)
    ones need a possible length, the rest a valid number of one of `REGIONS`. Digits that follow a word for order,
    ticket, invoice, … are not one.
    """

    SCORE = 0.4
    SEPARATED = r"(?:(?: ?\(0\) ?|[ ./()–-]{1,3})?[0-9])"
    END = r"(?: ?(?:x|ext\.?|Durchwahl) ?[0-9]{1,5})?(?!\w|-\w*[0-9])"
    FRESH = r"(?<![0-9][ -])"  # not inside a longer number written in groups
    INTERNATIONAL = re.compile(rf"(?<![\w+])\(?(?:\+ ?\(?|{FRESH}00)[1-9]{SEPARATED}{{6,15}}{END}")
    NATIONAL = re.compile(rf"(?<![\w.,:/+#-]){FRESH}\(?0[1-9]{SEPARATED}{{5,12}}{END}")
    AMERICAN = re.compile(
        rf"(?<![\w.,:/+#-]){FRESH}(?:1[ .-])?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}[ .-])"
        rf"[0-9]{{3}}[ .-][0-9]{{4}}{END}"
    )
    BARE = re.compile(rf"(?<![\w.,+#-])\(?[0-9]{SEPARATED}{{6,11}}{END}")
    LABEL = re.compile(  # "Tel.: ", "phone number is "
        r"(?:phone|tel|mobile?|handy|fax|telefon|rufnummer|whatsapp)(?:number|nummer)?(?: ?(?:number|nummer|no|nr))?"
        r"\.?(?: is| ist| lautet)?:?\s{0,2}$",
        re.IGNORECASE,
    )
    ROLE = re.compile(rf"\b(?:{_ROLES})\.?:\s{{0,2}}$", re.IGNORECASE)  # "Desk: "
    AFTER = re.compile(rf" {{0,2}}[-–(]? ?(?:{_ROLES})(?=\)|\s*(?:[,;|\\/\n]|$))", re.IGNORECASE)  # " (office)"
    CALL = re.compile(
        r"(?:phone|\btel|mobile|\bcell|call|handy|mobil|rufnummer|anruf|whatsapp|\bfax|erreich|reach)[^\d\n]{0,32}$"
        r"|\banswer(?:s|ed|ing)?(?: the phone)? (?:at|on) {1,2}$"
        r"|\b(?:messages?|sms|texts?|texted)(?: me| us)? (?:to|at|on|an|auf|unter) {1,2}$",
        re.IGNORECASE,
    )
    REFERENCE = re.compile(
        r"(?:order|ticket|case|invoice|article|item|customer|reference|transaction|account|tracking|contract|iban|"
        r"bestell\w*|auftrags?\w*|rechnungs?\w*|kunden\w*|vorgangs?\w*|artikel\w*|konto\w*|referenz\w*|sendungs?\w*|"
        r"vertrags?\w*)[ -]?(?:number|no|nr|nummer|id)?\.?(?: is| ist| lautet)?:? ?#?\(?$",
        re.IGNORECASE,
    )
    DATE = re.compile(r"[0-9]{1,2}[./-][0-9]{1,2}[./-](?:(?:19|20)[0-9][0-9]|[0-9][0-9](?![./ -]?[0-9]))")

    def __init__(self, supported_language: str) -> None:
        super().__init__(supported_entities=["PHONE_NUMBER"], supported_language=supported_language)

    def load(self) -> None:
        """Nothing to load: the numbering plans are part of phonenumbers."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[Any]:
        """Returns a result per phone number; see Presidio's `EntityRecognizer.analyze`."""
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
            labelled = self.LABEL.search(before) or self.ROLE.search(before)
            after = self.AFTER.match(text, match.end()) and not self.REFERENCE.search(before)
            if labelled or after:
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
            shorter = re.search(r"[^0-9]+[0-9]+[^0-9]*$", text[start:end])
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
