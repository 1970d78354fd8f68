"""Numbers of people's documents and accounts: by a check digit anywhere, the weaker ones after their word alone.

Output contract: `LABELLED` lists the types that are found after their word, each with a recogniser,
`labelled(language)` builds them. A finding is the number without its word. A number that has a check digit is found
without a word only where its form or its checksum makes chance unlikely: tax id, VAT id, identity card, social security
(DE, CH), `219-09-9999`. Presidio's own recognisers find ten digits after a letter, or three words and a number,
wherever they stand, and count on words around them to raise a score; ours ask for the word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from presidio_analyzer import Pattern, PatternRecognizer
from presidio_analyzer.predefined_recognizers import DeSocialSecurityRecognizer, DeTaxIdRecognizer, UsSsnRecognizer

from pipeline.screen.pii.recognisers.span_recogniser import Span, SpanRecognizer

VAT_ID = Pattern("USt-IdNr.", r"\bDE[\s.-]?[0-9]{3}[\s.-]?[0-9]{3}[\s.-]?[0-9]{3}\b", 0.4)
VAT_PREFILTER = r"(?i)\bDE[\s.-]?[0-9]{3}"
_ID = "CFGHJKLMNPRTVWXYZ"  # the letters of document numbers: none that reads like a digit or makes a word
_CARD_WORD = r"(?:personalausweis|ausweis|reisepass|identity card|id card|passport)\w*|perso|pass-?(?:nummer|nr)"
_TAX = "|".join(f"[1-9][0-9](?:{gap}[0-9]{{3}}){{3}}" for gap in ("", " ", "/", "[.]", "-"))
TAX_PREFILTER = rf"(?:^|[^\w.,-])(?:{_TAX})(?:[^\w-]|$)"
ID_CARD_PREFILTER = (
    rf"[{_ID}][0-9{_ID}]{{8}}[0-9]|[0-9]{{10}} ?D|(?i:(?:{_CARD_WORD})\S*[^0-9\n]{{0,30}}[0-9{_ID}]{{9}})"
)
ANY_ID = rf"(?i:[0-9{_ID}]{{9}})"


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
    Presidio's takes the ninth character for the check digit, which is the tenth (specimen card: number L01X00T47,
    machine-readable L01X00T471), so it refuses nine in ten real ones.
    """

    _LABEL = rf"(?<=\b(?i:{_CARD_WORD})\b[^\d\n]{{0,30}})"  # looked back for last: it costs most
    _START = r"(?<![\w-])"
    _NINE = rf"[{_ID}][0-9{_ID}]{{8}}"
    _ANY_CASE = rf"[{_ID}{_ID.lower()}][0-9{_ID}{_ID.lower()}]{{8}}"
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


class LabelledNumber(SpanRecognizer):
    """A number after its word; where `ANYWHERE` matches and `is_valid` agrees, without one as well."""

    WORDS = ""
    NUMBER = ""
    ANYWHERE = ""
    SCORE = 0.8

    def __init__(self, supported_language: str) -> None:
        super().__init__(supported_language)
        self._labelled = re.compile(
            rf"(?<![A-Za-zÄÖÜäöüß])(?i:{self.WORDS})[^0-9A-Z\n]{{0,4}}(?:[^0-9\n,;?!]{{0,32}}?[^0-9A-Za-z\n]{{1,3}})?\n?"
            rf"(?P<number>{self.NUMBER})"
        )
        self._anywhere = re.compile(self.ANYWHERE) if self.ANYWHERE else None

    def spans(self, text: str) -> Iterator[Span]:
        """Yields the numbers."""
        yield from ((*match.span("number"), self.SCORE) for match in self._labelled.finditer(text))
        if self._anywhere is not None:
            every = self._anywhere.finditer(text)
            yield from ((*match.span(), 1.0) for match in every if self.is_valid(match.group()))

    def is_valid(self, number: str) -> bool:
        """Whether a number without its word is one."""
        return bool(number)


class SocialSecurityRecognizer(LabelledNumber):
    """The German Sozialversicherungsnummer: `15 070649 C 103`, anywhere with its check digit (VKVV § 4)."""

    KIND = "DE_SOCIAL_SECURITY"
    WORDS = r"(?:sozial|renten)versicherung\w*|(?:sv|rv|rvnr|svnr)\b|versicherungs(?:nummer|nr)|social security"
    NUMBER = r"[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-Za-z] ?[0-9]{2} ?[0-9](?![0-9A-Za-z])"
    ANYWHERE = (
        r"(?<![0-9A-Za-z])[0-9]{2} ?(?:0[1-9]|[12][0-9]|3[01]|5[1-9]|[67][0-9]|8[01])(?:0[1-9]|1[0-2])[0-9]{2} ?[A-Z] ?"
        r"[0-9]{2} ?[0-9](?![0-9A-Za-z])"
    )

    def __init__(self, supported_language: str) -> None:
        super().__init__(supported_language)
        self._presidio = DeSocialSecurityRecognizer()

    def is_valid(self, number: str) -> bool:
        """Whether the check digit is right."""
        return bool(self._presidio.validate_result(number.replace(" ", "")))


class TaxNumberRecognizer(LabelledNumber):
    """The German Steuernummer: of the tax office (`21/815/08150`) or of the ELSTER form; it has no public checksum."""

    KIND = "DE_TAX_NUMBER"
    WORDS = r"steuer-?(?:nummer|nr)|st\.?-?nr|tax (?:number|no)"
    NUMBER = r"[0-9]{2,3}[ /][0-9]{3,4}[ /][0-9]{4,5}(?![0-9])|[0-9]{10,13}(?![0-9])"


class HealthInsuranceRecognizer(LabelledNumber):
    """The German Krankenversichertennummer: a capital and nine digits (§ 290 SGB V)."""

    KIND = "DE_HEALTH_INSURANCE"
    WORDS = (
        r"(?:kranken)?versicherten(?:nummer|nr|karte)?|krankenversicherung\w*|krankenkasse\w*|gesundheitskarte|kvnr|kvnummer|"
        r"egk|health insurance|aok|barmer|dak|techniker(?: krankenkasse)?|tk"
    )
    NUMBER = r"[A-Za-z] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}(?![0-9A-Za-z])"


class PlateRecognizer(LabelledNumber):
    """German number plates: `B-AB 1234`."""

    KIND = "DE_KFZ"
    WORDS = (
        r"(?:kfz-?|auto|nummern|amtliche[sn]? )?(?:kennzeichen|nummernschild|schild)|(?:number|license|licence) "
        r"plates?|plate|"
        r"registration(?: number)?|pkw|lkw|auto|wagen|fahrzeug|anhänger|motorrad|car|vehicle|kfz"
    )
    NUMBER = r"(?:[A-ZÄÖÜ]{1,3}(?:-[A-Z]{1,2} ?| [A-Z]{1,2} |[: ][A-Z]{1,2} ))[1-9][0-9]{0,3}[EH]?(?![0-9A-Za-z-])"


class DrivingLicenceRecognizer(LabelledNumber):
    """The number of a German driving licence: eleven letters and digits."""

    KIND = "DE_FUEHRERSCHEIN"
    WORDS = r"führerschein\w*|fuehrerschein\w*|fahrerlaubnis\w*|driving licen[cs]e|driver'?s licen[cs]e"
    NUMBER = r"(?=[A-Z0-9]*[0-9][A-Z0-9]*[0-9])[A-Z0-9]{10}[A-Z0-9](?![0-9A-Za-z])"


class UsSsn(LabelledNumber):
    """The American social security number, with its hyphens anywhere."""

    KIND = "US_SSN"
    WORDS = r"ssn|social security(?: number| no\.?)?|social"
    NUMBER = r"[0-9]{3}[- .]?[0-9]{2}[- .]?[0-9]{4}(?![0-9A-Za-z-])"
    ANYWHERE = r"(?<![\w.,/-])[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}(?![\w/-])"

    def __init__(self, supported_language: str) -> None:
        super().__init__(supported_language)
        self._presidio = UsSsnRecognizer()

    def is_valid(self, number: str) -> bool:
        """Whether the number may have been issued."""
        return not self._presidio.invalidate_result(number)


class NationalInsuranceRecognizer(LabelledNumber):
    """The British national insurance number: `QQ 12 34 56 C`."""

    KIND = "UK_NINO"
    WORDS = r"nino|national insurance(?: number| no\.?)?|ni (?:number|no\.?)"
    NUMBER = r"[A-Za-z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-Da-d](?![0-9A-Za-z])"


class NhsRecognizer(LabelledNumber):
    """The number of a British patient."""

    KIND = "UK_NHS"
    WORDS = r"nhs(?: number| no\.?)?"
    NUMBER = r"[0-9]{3}[- ]?[0-9]{3}[- ]?[0-9]{4}(?![0-9])"


class BankAccountRecognizer(LabelledNumber):
    """An account without IBAN: account number, Bankleitzahl, sort code."""

    KIND = "BANK_ACCOUNT"
    WORDS = (
        r"konto(?:-?(?:nummer|nr))?|kto(?:\.?-?nr)?|blz|bankleitzahl|bank account(?: number| no\.?)?|account "
        r"(?:number|no\.?)|"
        r"sort ?code|routing(?: number)?"
    )
    NUMBER = r"[0-9]{2}-[0-9]{2}-[0-9]{2}(?![0-9-])|[0-9]{6,10}(?![0-9]|[.,][0-9])|[0-9]{3} [0-9]{3} [0-9]{2}(?![0-9])"


LABELLED = (
    SocialSecurityRecognizer,
    TaxNumberRecognizer,
    HealthInsuranceRecognizer,
    PlateRecognizer,
    DrivingLicenceRecognizer,
    UsSsn,
    NationalInsuranceRecognizer,
    NhsRecognizer,
    BankAccountRecognizer,
)
LICENCE = "[A-Z0-9]{11}"
LABELLED_PREFILTERS = {  # RE2
    "DE_SOCIAL_SECURITY": r"[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-Za-z] ?[0-9]{2} ?[0-9]",
    "DE_TAX_NUMBER": r"(?i:st(?:euer)?\.?-?(?:nummer|nr)|tax (?:number|no))",
    "DE_HEALTH_INSURANCE": r"(?i:versicher|krankenkasse|gesundheitskarte|kvn|egk|insurance|aok|barmer|dak|technik|tk)",
    "DE_KFZ": r"[A-ZÄÖÜ]{1,3}[-: ][A-Z]{1,2} ?[1-9]",
    "DE_FUEHRERSCHEIN": r"(?i:f(?:ü|ue)hrerschein|fahrerlaubnis|licen[cs]e)",
    "US_SSN": r"[0-9]{3}-[0-9]{2}-[0-9]{4}|(?i:ssn|social)",
    "UK_NINO": r"[A-Za-z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-Da-d]",
    "UK_NHS": "(?i:nhs)",
    "BANK_ACCOUNT": r"(?i:konto|kto|blz|bankleitzahl|account (?:number|no)|bank account|sort ?code|routing)",
}
