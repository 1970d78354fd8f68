"""Phone numbers in the forms people write them, checked by libphonenumber.

Output contract: `TelephoneRecognizer` is a Presidio recogniser for PHONE_NUMBER; every finding holds seven digits or
more. Presidio's own phone matcher takes `2147483647` and `35984-2` for numbers and misses labelled ones.
This module imports Presidio: import it inside the function that needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import phonenumbers

from pipeline.screen.pii.recognisers.span_recogniser import Span, SpanRecognizer

REGIONS = ("DE", "AT", "CH", "GB", "FR", "IT", "ES", "NL", "PL", "US")  # where a number without +… may be from

_SEPARATED = "(?:(?: ?[(]0[)] ?|[ ./()–-]{1,3})?[0-9])"
_END = "(?:[^0-9A-Za-z_]|[xeD]|$)"
_ROLES = "office|desk|direct|home|work|mobile?|cell|fax|phone|tel|b[üÜ]ro|zentrale|privat|dienstlich|durchwahl"
_COUNT = r"number|numbers|no|nr|nummern?|id|code|zeichen"
_NOUNS = (  # what has a number; the number of one is no phone number
    r"orders?|tickets?|cases?|invoices?|articles?|items?|customers?|references?|transactions?|accounts?|tracking|contracts?|"
    r"iban|bestell\w*|auftrags?\w*|rechnungs?\w*|kunden\w*|vorgangs?\w*|artikel\w*|konto\w*|referenz\w*|sendungs?\w*|"
    r"vertrags?\w*|serials?|serien\w*|akten\w*|policen?\w*|zähler\w*|imei|ean|isbn|gtin|barcode|sku|charge|rma|matrikel\w*|"
    r"schadens?\w*|angebots?\w*|lieferschein\w*|mandats?\w*|parcels?|pakets?\w*|shipments?|claims?|polic(?:y|ies)|dossiers?|"
    r"errors?|fehler|versions?|builds?|memberships?|vouchers?|coupons?|keys?|licen[cs]es?|bookings?|files?|blz|ust|vat|fehlercodes?|gutschein\w*|steuer\w*|"
    r"inventar\w*|beleg\w*|buchung\w*|chargen\w*|commande|facture|s[ée]rie|pedido|factura|ordine|fattura|faktura|"
    r"zam[óo]wienie|bestelling|factuur"
)
_NUMBERED = (  # only with a word for its number
    r"file|model|modell|part|teile|device|geräte|meter|lot|batch|booking|buchungs|reservation|reservierungs|confirmation|"
    r"return|retouren|job|project|projekt|member|mitglieds|patient\w*|application|antrags|error|fehler|delivery|liefer|"
    r"protocol|protokoll|product|produkt|registration|register|build|version|versicherungs|insurance|document|dokumenten|"
    r"license|lizenz|quote|purchase order|po|process|incident|request|user|benutzer|client|mandanten|personal|employee"
)
_MARKS = r"s/n|p/n|sn|az|ref|po|id|hrb|hra|seq|wo"  # abbreviations
_CALL = (
    r"phone|\btel|mobile|\bcell|call|handy|mobil|\bruf|r[üÜ]ckruf|anruf|anzurufen|durchwahl|whatsapp|\bfax|erreich|reach|"
    r"kontakt|contact|tele[fF]|t[éÉ]l[éÉ]ph|joindre|appel|joignable|ll[aáÁ]m|m[óÓ]vil|chiam|cellulare|recapito|\bbel\b|bereikbaar|"
    r"zadzwo|kom[óÓ]rk|\bring\b|my (?:new )?number|mein\w* (?:neue )?n(?:umme)?r|unter der n(?:umme)?r|mon num|"
    r"mi n[uúÚ]mero|mio numero|mijn nummer|m[óÓ]j numer"
)
_GROUPED = (
    "(?:[(]?[0-9]{2,3}[)]?[ ./-][0-9]{3}(?:[ .-][0-9]{2}){2}|[2-9][0-9]{2}(?:[ -][0-9]{3}|(?:[ -][0-9]{2})){2,3})"
)
_SPOKEN = (
    "null|eins?|zwei|zwo|drei|vier|f(?:ü|Ü|ue)nf|sechs|sieben|acht|neun|zero|oh|one|two|three|four|five|six|"
    "seven|eight|nine"
)
PREFILTER = "|".join(  # RE2 syntax; the recogniser's patterns as far as RE2 goes
    (
        rf"(?:^|[^\w+])[(]?(?:[+] ?[(]?|00 ?)[1-9]{_SEPARATED}{{6,15}}{_END}",
        rf"(?:^|[^\w.,:/+#-])[(]?0 ?[1-9]{_SEPARATED}{{5,12}}{_END}",
        r"(?:[(][1-9][0-9]{2}[)] ?|[1-9][0-9]{2}[ ./-])[0-9]{3}[ .-][0-9]{4}",
        rf"(?i:{_ROLES}|{_CALL}|answer|message|sms|text)[^0-9]{{0,33}}[0-9]{_SEPARATED}{{6,11}}{_END}",
        rf"[0-9]{_SEPARATED}{{6,11}}[^\n]{{0,20}}(?i:{_ROLES})",
        rf"(?m:^|, ) ?{_GROUPED} ?$",
        "0(?:[ ./-]{1,3}[0-9]){7}",
    )
)
SPELLED_PREFILTER = (
    rf"(?i:(?:{_SPOKEN})[ ,.-]{{1,2}}(?:doppel|double)?(?:{_SPOKEN})[ ,.-]{{1,2}}(?:{_SPOKEN})[ ,.-])"  # RE2
)


class TelephoneRecognizer(SpanRecognizer):
    """Phone numbers in the forms people write, checked by libphonenumber.

    International (`+49 …`, `0049 …`), national with its zero (`030 …`, `0171/…`), American (`212-555-0123`), digits
    in groups on a line of their own, and digits after a word for telephone or before one (`… (office)`). American and
    labelled (`Tel.: …`) numbers, and those whose area code stands apart, need a possible length, the rest a valid
    number of one of `REGIONS`. Digits that follow a word for order, ticket, file, serial, … are not one.
    """

    KIND = "PHONE_NUMBER"
    SCORE = 0.4
    SEPARATED = r"(?:(?: ?\(0\) ?|[ ./()–-]{1,3})?[0-9])"
    EXTENSION = re.compile(
        r",? ?(?:x|ext(?:ension|n)?\.?|Durchwahl|DW|Nebenstelle|NSt\.?|Klappe|App(?:arat|\.)|poste|int(?:erno)?\.?|"
        r"toestel|wewn\.?) ?:? ?[0-9]{1,6}(?!\w)",
        re.IGNORECASE,
    )
    END = rf"(?:{EXTENSION.pattern})?(?!\w|-\w*[0-9])"
    FRESH = r"(?<![0-9][ -])"  # not inside a longer number written in groups
    INTERNATIONAL = re.compile(rf"(?<![\w+])\(?(?:\+ ?\(?|{FRESH}00 ?)[1-9]{SEPARATED}{{6,15}}{END}", re.IGNORECASE)
    NATIONAL = re.compile(rf"(?<![\w.,:/+#-]){FRESH}\(?0 ?[1-9]{SEPARATED}{{5,12}}{END}", re.IGNORECASE)
    APART = re.compile(r"\(0[1-9][0-9]{1,4}\) ?[0-9]|0[1-9][0-9]{1,4} ?[/–] ?[0-9]|0[1-9][0-9]{2,4} [0-9]{5}")
    AMERICAN = re.compile(
        rf"(?<![\w.,:/+#-]){FRESH}(?:1[ .-])?(?:\([1-9][0-9]{{2}}\) ?|[1-9][0-9]{{2}}[ ./-])"
        rf"[0-9]{{3}}[ .-][0-9]{{4}}{END}",
        re.IGNORECASE,
    )
    ALONE = re.compile(rf"(?:^|(?<=, )){_GROUPED}(?= ?$)", re.MULTILINE)  # Spanish, Polish, Italian: no zero tells them
    BARE = re.compile(rf"(?<![\w.,+#-])\(?[0-9]{SEPARATED}{{6,11}}{END}", re.IGNORECASE)
    LABEL = re.compile(  # "Tel.: ", "phone number is "
        r"(?:phone|tel|mobile?|handy|fax|telefon|rufnummer|whatsapp|teléfono|téléphone|telefono|cellulare|móvil)"
        r"(?:number|nummer)?(?: ?(?:number|nummer|no|nr))?\.?(?: is| ist| lautet)?:?\s{0,2}$",
        re.IGNORECASE,
    )
    ROLE = re.compile(rf"\b(?:{_ROLES})\.?:\s{{0,2}}$", re.IGNORECASE)  # "Desk: "
    AFTER = re.compile(rf" {{0,2}}[-–(]? ?(?:{_ROLES})(?=\)|\s*(?:[,;|\\/\n]|$))", re.IGNORECASE)  # " (office)"
    CALL = re.compile(
        rf"(?:{_CALL})[^\d\n]{{0,32}}$"
        r"|\banswer(?:s|ed|ing)?(?: the phone)? (?:at|on) {1,2}$"
        r"|\b(?:messages?|sms|texts?|texted)(?: me| us)? (?:to|at|on|an|auf|unter) {1,2}$",
        re.IGNORECASE,
    )
    REFERENCE = re.compile(  # "order no. ", "Seriennummer des Geräts: "
        rf"(?:(?<![^\W_])(?:{_NOUNS})(?:[ -]?(?:{_COUNT}))?|(?<![^\W_])(?:{_NUMBERED})[ -]?(?:{_COUNT})|\b(?:{_MARKS})"
        r"|[a-zäöüß](?:nummer|zeichen|nr)\b|(?<!phone)(?<!mobile)(?<!fax) (?:number|no\.?|nr\.?|id) of "
        r"[^\d\n.;?!]{3,20})"
        r"\.?(?:[ \t](?:is|ist|lautet|war|was|for|of|des|der|vom|von|mit|auf)\b[^\d\n.,;:?!]{0,24})?:? ?[#(\"']{0,2}$",
        re.IGNORECASE,
    )
    NUMBERED = re.compile(  # "Zertifikatsnummer ", "permit no. ": a number of something
        r"([^\W\d_]{2,})[ -]?(?:number|no|nr|nummer|num|id|code)\.?(?: is| ist| lautet)?:? ?#?\(?$", re.IGNORECASE
    )
    OF_PHONES = re.compile(  # before "number", "nummer": a phone's, or somebody's
        r".*(?:phone|tel|mobil|handy|fax|ruf|cell|whatsapp|durchwahl|kontakt|contact|service|office|home|work|hotline|"
        r"notfall|emergency|support)e?n?s?|the|this|my|your|our|his|her|their|new|old|me[ie]n\w*|dein\w*|ihre?\w*|"
        r"unsere?\w*|seine?\w*|die|der|diese\w*|neuen?|alten?|einen?|eine|private?n?",
        re.IGNORECASE,
    )
    PHONE_WORD = re.compile(r"phone|telefon|tel\b|handy|mobil|\bruf|\bcall|anruf|fax|whatsapp|\bcell", re.IGNORECASE)
    SINGLE_DIGITS = re.compile(r"(?<![\w.,:/+#-])0(?:[ ./-]{1,3}[0-9]){7,12}(?![\w]|[ .-][0-9])")  # 0 1 7 1 / 2 3 4 …
    SPELLED = re.compile(
        rf"(?<!\w)(?:{_SPOKEN})(?:(?:, ?|[ .-]{{1,2}})(?:doppel|double)?(?:{_SPOKEN})){{6,15}}(?!\w)", re.IGNORECASE
    )
    DATE = re.compile(r"[0-9]{1,2}[./-][0-9]{1,2}[./-](?:(?:19|20)[0-9][0-9]|[0-9][0-9](?![./ -]?[0-9]))")

    def spans(self, text: str) -> Iterator[Span]:
        """Yields phone numbers."""
        yield from ((start, end, self.SCORE) for start, end in self._numbers(text))

    def _numbers(self, text: str) -> Iterator[tuple[int, int]]:
        for match in self.INTERNATIONAL.finditer(text):
            plus = "+" in match.group()[:2]
            if plus or not self._is_reference(text, match):
                # 0049… without a separator may be any long number
                grouped = re.search(r"[0-9][^0-9\w]+[0-9]", match.group())
                yield from self._accepted(text, *match.span(), (None,), valid=not plus and not grouped)
        for match in self.AMERICAN.finditer(text):
            if not self._is_reference(text, match):
                yield from self._accepted(text, *match.span(), ("US",), valid=False)
        for match in self.NATIONAL.finditer(text):
            number = match.group()
            long = re.search(r"\D", number) or len(number) >= 9
            apart = self.APART.match(number) and number.count("/") < 2 and sum(map(str.isdigit, number)) >= 9
            spaced = number.lstrip("(").startswith("0 ") and "/" not in number
            if long and not (spaced or self.DATE.match(number) or self._is_reference(text, match)):
                yield from self._accepted(text, *match.span(), REGIONS, valid=not apart)
        for match in self.ALONE.finditer(text):
            yield from self._accepted(text, *match.span(), REGIONS, valid=True)
        for match in self.SINGLE_DIGITS.finditer(text):
            if not self._is_reference(text, match) and _is_number(re.sub(r"\D", "", match.group()), "DE", valid=True):
                yield match.span()
        yield from (match.span() for match in self.SPELLED.finditer(text))
        yield from self._bare(text)

    def _bare(self, text: str) -> Iterator[tuple[int, int]]:
        """Yields numbers that only a word before or behind them tells."""
        for match in self.BARE.finditer(text):
            before, reference = _before(text, match), self._is_reference(text, match)
            labelled = self.LABEL.search(before) or self.ROLE.search(before)
            if labelled or (self.AFTER.match(text, match.end()) and not reference):
                yield from self._accepted(text, *match.span(), REGIONS, valid=False)
            elif self.CALL.search(before) and not (reference or self.DATE.match(match.group())):
                yield from self._accepted(text, *match.span(), REGIONS, valid=True)

    def _is_reference(self, text: str, match: re.Match[str]) -> bool:
        """Whether digits are the number of an order, a device, a file: after a word for it and none for a telephone."""
        before = _before(text, match)
        reference, numbered = self.REFERENCE.search(before), self.NUMBERED.search(before)
        if self.LABEL.search(before) or (numbered is not None and self.OF_PHONES.fullmatch(numbered[1])):
            return False
        if numbered is not None:
            return True
        return reference is not None and self.PHONE_WORD.search(before, max(0, reference.start() - 10)) is None

    def _accepted(
        self, text: str, start: int, end: int, regions: tuple[str | None, ...], valid: bool
    ) -> Iterator[tuple[int, int]]:
        """Yields the longest beginning of the candidate, cut between its groups of digits, that is a phone number."""
        while sum(char.isdigit() for char in text[start:end]) >= 7:
            number = self.EXTENSION.sub("", text[start:end])  # libphonenumber knows few words for it
            number = re.sub(r"^\(?00", "+", number) if regions == (None,) else number
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
