"""Street addresses and dates of birth.

Output contract: a STREET_ADDRESS is a street with a house number, and with what follows of flat, postcode and town; a
street whose name is an everyday word (`Platz 3`, `20 Minute Drive`) only with a postcode or a town. A DATE_OF_BIRTH is
a date after a word for it, without the word.
This module finds no town alone and no address in one line without a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.screen.pii.recognisers.span_recogniser import Span, SpanRecognizer

SCORE = 0.97  # over a name's: `Anna-Schmidt-Straße 5` is an address
_UP = "A-ZÄÖÜ"
_TOWN = rf"[{_UP}][\w'-]+(?:[ -](?:am|an der|im|in der|ob der|bei|vor der|a\.|[{_UP}])[\w.'-]*){{0,3}}"
_NUMBER = r"[0-9]{1,4}(?: ?[a-zA-Z](?![\w'.]))?(?: ?[-/+] ?[0-9]{1,4}[a-zA-Z]?(?![\w]))?(?![\w:%€$]|[.,][0-9])"
_FLAT = r"(?:,? {0,2}(?:[0-9]{1,2}\. ?(?:OG|Stock|Etage)|EG|DG|Wohnung|Whg\.?|Hinterhaus|c/o)[^\n,]{0,24})?"
_POSTCODE = rf"(?:\s{{0,2}}[,;/|–-]?\s{{1,2}}|, ?)(?:[A-Z]{{1,2}}-? ?)?[0-9]{{4,5}},? {_TOWN}"
_SURE = r"(?:straße|strasse|str\.?|gasse|allee|chaussee|promenade|damm|ufer|stieg)"
_COMPOUND = r"(?:weg|ring|platz|markt|graben|wall|pfad|winkel|anger|hof|berg|feld|garten|park|kai|steig|tor)"
_NO_STREET = (  # of the compounds, those that are none
    r"(?:Park|Arbeits|Sitz|Steh|Stell|Speicher|Markt|Lager|Liege|Steck|Ausbildungs|Studien|Schlaf|Tisch|Fenster|Kita)platz|"
    r"(?:Rechts|Um|Aus|Hin|Rück|Vertriebs|Zahlungs|Versand|Liefer|Übertragungs|Kommunikations|Post|Dienst|Mittel|Bestell|"
    r"Kontakt|Lösungs|Rad|Geh|Feder|Zugangs)weg|(?:Dicht|Ohr|Schlüssel|Feder|Kolben|Finger|Ehe|Key)ring|"
    r"(?:Text|Eingabe|Such|Pflicht|Daten|Auswahl|Formular|Adress|Namens|Kontroll|Options|Freitext|Betreff|Zahlen)feld|"
    r"(?:Super|Bau|Wochen|Flohm?|Aktien|Arbeits|Elektro|Drogerie|Getränke|Media|App|Welt)markt|"
    r"(?:Bahn|Schlacht|Fried|Haupt|Güter|Bau)hof|Bahnsteig|Fuhrpark|Freizeitpark|Kindergarten|Biergarten"
)
_GERMAN = re.compile(
    rf"(?<![\w-])(?:"
    rf"(?:[{_UP}][\w'.-]{{0,30}}[ -]){{0,3}}(?:[{_UP}][\w'-]{{1,30}}{_SURE}|[{_UP}][\w'-]{{2,30}}[ -](?:Straße|"
    rf"Strasse|Str\.|Gasse|"
    rf"Allee|Chaussee|Promenade|Damm|Ufer)|Straße (?:des|der) [\w. ]{{3,20}}) ?{_NUMBER}(?:{_FLAT}{_POSTCODE})?"
    rf"|(?!{_NO_STREET})[{_UP}][\w'-]{{3,30}}{_COMPOUND} {_NUMBER}(?:{_FLAT}{_POSTCODE})?"
    rf"|(?:(?:Am|An|Auf|Im|In|Zum|Zur|Unter|Hinter|Vor|Beim|Alte[rs]?|Große[rs]?|Kleine[rs]?|Neue[rs]?|Obere[rs]?|Untere[rs]?)"
    rf"(?: (?:der|den|dem|das))?(?: [\w'.-]{{2,24}}){{1,3}}|[{_UP}][\w'-]{{2,30}}{_COMPOUND}|"
    rf"[{_UP}][\w'-]{{1,30}}-?[{_UP}]?[\w'-]{{0,20}}"
    rf"[ -](?:Weg|Ring|Platz|Markt)) {_NUMBER}{_FLAT}{_POSTCODE}"
    rf"|(?:Postfach|P\.? ?O\.? ?Box) [0-9](?: ?[0-9]){{1,9}}(?:{_POSTCODE})?"
    rf")"
)
_STREET_SURE = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Av|Lane|Ln|Boulevard|Blvd|Terrace|Crescent|Parkway|Pkwy|Highway|Hwy|Mews|Grove)"
)
_STREET_WORD = (
    r"(?:Drive|Dr|Court|Ct|Place|Pl|Close|Square|Sq|Way|Row|Gardens|Circle|Cir|Trail|Walk|Loop|Plaza|Hill|Park)"
)
_UK = r"[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}(?![\w])"
_UNIT = r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Room|#)\.? ?#?[\w-]{1,6})?"
_ENGLISH_TOWN = (
    rf"(?:,?\s{{1,2}}|,)(?:[A-Z][\w'.-]+[ ]?){{1,3}}(?:,? ?(?:[A-Z]{{2}},? "
    rf")?(?:[0-9]{{5}}(?:-[0-9]{{4}})?(?!\w)|{_UK})|, [A-Z]{{2}}(?!\w))"
)
_NAME = r"(?:(?:N|S|E|W|NE|NW|SE|SW)\.? )?(?:[A-Z][\w'.-]*|[0-9]{1,3}(?:st|nd|rd|th))(?: [A-Z][\w'-]*){0,3}"
_ENGLISH = re.compile(
    rf"(?<![\w.,#$€£/-])[0-9]{{1,5}}[A-Z]?(?:-[0-9]{{1,5}})?,? (?!(?:Google|One|Hard|Flash|USB|Test)\b)"
    rf"(?:{_NAME} {_STREET_SURE}(?:\.|\b)(?! ?[0-9])(?: (?:N|S|E|W|NE|NW|SE|SW|North|South|East|"
    rf"West)\b)?{_UNIT}(?:{_ENGLISH_TOWN})?"
    rf"|{_NAME} {_STREET_WORD}(?:\.|\b){_UNIT}{_ENGLISH_TOWN})"
)
_DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"
_MONTH = (
    r"(?:jan(?:uar|uary|\.)?|jänner|feb(?:ruar|ruary|\.)?|m(?:ä|ae)r(?:z|\.)?|mar(?:ch|\.)?|apr(?:il|\.)?|mai|may|jun[ie]?\.?|jul[iy]?\.?|"
    r"aug(?:ust|\.)?|sep(?:t|tember|\.|t\.)?|o[kc]t(?:ober|\.)?|nov(?:ember|\.)?|de[zc](?:ember|\.)?)"
)
_DATE = (
    rf"(?:{_DAY}\. ?(?:0?[1-9]|1[0-2])\. ?(?:[12][0-9])?[0-9]{{2}}|(?:0?[1-9]|[12][0-9]|3[01])[/-](?:0?[1-9]|"
    rf"[12][0-9]|3[01])[/-](?:[12][0-9])?[0-9]{{2}}"
    rf"|[12][0-9]{{3}}[-/.](?:0?[1-9]|1[0-2])[-/.]{_DAY}|{_DAY}(?:\.|st|nd|rd|th)? (?:of )?{_MONTH},? [12][0-9]{{3}}"
    rf"|{_MONTH} {_DAY}(?:st|nd|rd|th)?,? [12][0-9]{{3}})(?!\w)"
)
_BIRTH = re.compile(
    r"(?<![\w])(?:geb(?:oren|urts\w*|\.|-?dat\w*)|born|birth(?:day| ?date)?|date of birth|d\.?o\.?b\.?|"
    r"(?<![*\w])\*(?= ?[0-9][^*\n]{5,24}(?:[^*\n]|$)))(?!-?jahr)"
    r"(?:[ \t]?\((?:am|tt\.mm\.jjjj|dd/mm/yyyy|mm/dd/yyyy)\))?[^0-9\n]{0,24}?[: \t\n]{0,3}"
    rf"(?P<date>{_DATE})(?!\*)",
    re.IGNORECASE,
)
_WORDS = r"(?:[A-Z0-9][^\s,;]* ){1,5}"
STREET_PREFILTER = (  # RE2: gaps of words, not of characters, keep its automaton small
    rf"(?i:{_SURE[3:-1]}) ?[0-9]|Straße d|{_COMPOUND} [0-9]|(?:Weg|Ring|Platz|Markt) [0-9]|[0-9]{{4,5}},? [{_UP}]"
    rf"|(?:Postfach|[Bb]ox|BOX) [0-9]|[0-9][A-Z]?,? {_WORDS}(?:{_STREET_SURE[3:-1]}|{_STREET_WORD[3:-1]})\b"
)
BIRTH_PREFILTER = r"(?i:geb(?:\.|oren|urt|dat|-|\b)|born|birth|d\.?o\.?b\b)|\* ?[0-9]"  # RE2


class StreetAddressRecognizer(SpanRecognizer):
    """Street addresses of German and English speaking countries."""

    KIND = "STREET_ADDRESS"

    def spans(self, text: str) -> Iterator[Span]:
        """Yields addresses."""
        for pattern in (_GERMAN, _ENGLISH):
            yield from ((*match.span(), SCORE) for match in pattern.finditer(text))


class BirthDateRecognizer(SpanRecognizer):
    """Dates of birth."""

    KIND = "DATE_OF_BIRTH"

    def spans(self, text: str) -> Iterator[Span]:
        """Yields the dates."""
        yield from ((*match.span("date"), SCORE) for match in _BIRTH.finditer(text))
