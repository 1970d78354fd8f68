"""Known entities: the names, e-mail addresses and phone numbers in a dump's own columns, found again in its text.

Output contract: `KnownEntities` is built once per run, merged from parts, small and picklable. A full name (two words
or more) is found in any text, in both orders and with a genitive s; a single first or last name only in the row's own
ticket and only with a capital, and one that is also an everyday word only after a title or greeting or alone on a line.
Words are looked up in hash sets, so the cost does not grow with the number of names.
This module knows no names but those of the columns: names of third parties need an NER model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.screen.spans import Finding

Entities = Sequence[dict[str, str | None]]  # a row's `entities`: {"type": NAME | EMAIL | PHONE, "text": …}

SCORE = 0.95  # under a checksum's 1.0, over a pattern's or a model's guess
MAX_WORDS = 5
WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
GAP = re.compile(r"\s{1,3}|\.\s|,\s")  # between two words of one name
EMAIL = re.compile(r"[^\s<>\"'(),;:\[\]]+@[^\s<>\"'(),;:\[\]]+")
PHONE = re.compile(r"(?<!\w)[+(]{0,2}\d(?:[ ()/.-]{0,3}\d){5,16}(?!\w)")
MIN_PHONE_DIGITS = 7


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FOLD = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "’": "'"})
BEFORE = re.compile(  # what makes the next word a name even where it is an everyday word
    r"(?:^|\W)(?:herrn?|frau|familie|mrs?|ms|miss|sir|madam|dr|prof|dear|hi|hello|hey|hallo|moin|liebe[rs]?|"
    r"(?:my|i) name is|mein name ist|ich hei(?:ß|ss)e|regards|cheers|gr(?:ü|ue)(?:ß|ss)en?)[.,]?\s+$",
    re.IGNORECASE,
)
TITLES = _words("herr herrn frau familie mr mrs ms miss dr prof dipl ing sir madam")
PARTICLES = _words("von van de der den del della di da du la le zu zur zum vom und and und bin ibn al el")
GENERIC = _words(  # words that no person is called: a sender with one of them is a team, a company or a machine
    "support team service services kundenservice kundendienst kundenbetreuung customer customers client care help desk "
    "helpdesk hotline info admin administrator system bot automation noreply no-reply reply office sales vertrieb "
    "verkauf marketing buchhaltung accounting billing finance einkauf purchasing hr personal it technik technical "
    "contact kontakt mail mailer daemon postmaster webmaster newsletter shop store gmbh ag kg ohg ug se ev gbr inc ltd "
    "llc corp company firma group gruppe bank unknown unbekannt anonymous anonym guest gast user test agent agents "
    "unassigned none null account management department abteilung verwaltung zentrale international"
)
COMMON = _words(  # everyday words that are also first or last names
    "abend alt amber april art bach bank baum berg bergen berlin best bill bishop black blank brand braun breit "
    "brook bunt case cash chance chase church cook court cross dank day ende ernst essen falter fink ford forest "
    "frei freitag fritz glass gold good grant gray green grey gross groß grün guide gut hand hart haus heart heil "
    "herbst herz hof hoffnung holz hope house jacket jan joy july june jung kaiser kalt kann karte king klar "
    "klein klug koch kraft krone kurz könig land lane lang lange law lee licht lieb liebe lind mai major march "
    "mark marks markt may meister morgen neu nord north oster page park patience pfennig pink pole post power "
    "price quick ray read recht reich rein rich richter ring rise rose rosen rot roth rust sand sauer schade "
    "schatz schnell schreiber schwarz schön see sharp short small smart sommer sonne sonntag south spring stadt "
    "star stark stein stern still stock stone storm strauß street summer tag voll warm wasser weg weiss weiß welt "
    "west white wild will winter wise wohl wort wright wunder young zeit"
)


def _key(word: str) -> str:
    """Folds case, umlauts (`ü` = `ue`) and apostrophes, so that spellings of one name meet."""
    return word.casefold().translate(FOLD)


EVERYDAY = frozenset(_key(word) for word in COMMON)


@lru_cache(maxsize=100_000)
def name_words(name: str) -> tuple[str, ...]:
    """Returns a person's name as folded words, first name first; nothing for a team, a company or an address."""
    name = unicodedata.normalize("NFC", name)
    if "@" in name or any(char.isdigit() for char in name):
        return ()
    last, comma, first = name.partition(",")
    words = [_key(word) for word in WORD.findall(f"{first} {last}" if comma else name)]
    if any(part in GENERIC for word in words for part in (word, *word.split("-"))):
        return ()
    return tuple(word for word in words if word not in TITLES)


@lru_cache(maxsize=100_000)
def _forms(word: str) -> tuple[str, ...]:
    """Returns what a word of a text may be a form of: itself, or without its genitive ending."""
    key = _key(word)
    if key.endswith("'s"):
        return key, key[:-2]
    return (key, key[:-1]) if key.endswith("s") and len(key) > 3 else (key,)


def phone_keys(text: str) -> tuple[str, ...]:
    """Returns the digits of a phone number without prefix zeros; an international one also without country code."""
    digits = re.sub(r"\D", "", re.sub(r"\(0\)", "", text))
    core = digits.lstrip("0")
    keys = [core]
    if "+" in text or digits.startswith("00"):
        keys += [core[length:].lstrip("0") for length in (1, 2, 3)]
    return tuple(key for key in keys if len(key) >= MIN_PHONE_DIGITS)


class _Word:
    """A word of a text with where it stands."""

    __slots__ = ("end", "forms", "start", "text")

    def __init__(self, match: re.Match[str]) -> None:
        self.text = match.group()
        self.start, self.end = match.span()
        self.forms = _forms(self.text)
        if self.forms[0].endswith("'s"):
            self.end -= 2  # an English genitive stays in the sentence; a German one has no boundary of its own


@dataclass(frozen=True)
class KnownEntities:
    """What the columns of a dump know about people. Hash sets of folded names, addresses and digits."""

    names: frozenset[str] = frozenset()  # "anna schmidt"
    emails: frozenset[str] = frozenset()
    phones: frozenset[str] = frozenset()

    @classmethod
    def collect(cls, tables: Iterable[pa.Table]) -> KnownEntities:
        """Builds from tables with the column `entities` (list of {type, text}), read one after another."""
        seen: dict[str, set[str]] = {"NAME": set(), "EMAIL": set(), "PHONE": set()}
        for table in tables:
            flat = pc.list_flatten(table["entities"]).combine_chunks()
            types, texts = pc.struct_field(flat, "type"), pc.struct_field(flat, "text")
            for kind, found in seen.items():
                found.update(text for text in texts.filter(pc.equal(types, kind)).unique().to_pylist() if text)
        names = (name_words(name) for name in seen["NAME"])
        return cls(
            frozenset(" ".join(words) for words in names if 2 <= len(words) <= MAX_WORDS),
            frozenset(email.strip().casefold() for email in seen["EMAIL"] if "@" in email),
            frozenset(key for phone in seen["PHONE"] for key in phone_keys(phone)),
        )

    def merge(self, other: KnownEntities) -> KnownEntities:
        """Returns what either knows."""
        return KnownEntities(self.names | other.names, self.emails | other.emails, self.phones | other.phones)

    @cached_property
    def _starts(self) -> frozenset[str]:
        """First and last words: a name in either order begins with one of them."""
        return frozenset(word for name in self.names for word in (name.split(" ", 1)[0], name.rsplit(" ", 1)[-1]))

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("names", "emails", "phones")}

    def find(self, text: str, own: Entities = ()) -> Iterator[Finding]:
        """Yields findings, which may overlap; `own` are the entities of the row that the text belongs to."""
        parts = {word for entity in own if entity["type"] == "NAME" for word in name_words(entity["text"] or "")}
        parts = {word for word in parts if len(word) > 1 and word not in PARTICLES}
        if self.names or parts:
            yield from self._people(text, parts)
        if self.emails and "@" in text:
            for match in EMAIL.finditer(text):
                address = match.group().rstrip(".!?")
                if address.casefold() in self.emails:
                    yield Finding(match.start(), match.start() + len(address), "EMAIL_ADDRESS", SCORE)
        if self.phones:
            for match in PHONE.finditer(text):
                if not self.phones.isdisjoint(phone_keys(match.group())):
                    yield Finding(*match.span(), "PHONE_NUMBER", SCORE)

    def _people(self, text: str, parts: set[str]) -> Iterator[Finding]:
        words = {word: _forms(word) for word in WORD.findall(text)}
        starts = {word for word, forms in words.items() if not self._starts.isdisjoint(forms)}
        singles = {word for word, forms in words.items() if word[0].isupper() and _part(forms, parts)}
        if not starts and not singles:
            return
        matches = list(WORD.finditer(text))
        for position, match in enumerate(matches):
            if match.group() in starts:
                yield from self._full_names(text, [_Word(word) for word in matches[position : position + MAX_WORDS]])
            if match.group() in singles:
                yield from _single_name(text, _Word(match), parts)

    def _full_names(self, text: str, words: list[_Word]) -> Iterator[Finding]:
        """Yields the names that begin with the first of `words`."""
        for stop in range(2, len(words) + 1):
            if not GAP.fullmatch(text[words[stop - 2].end : words[stop - 1].start]):
                return
            if self._is_name(words[:stop]):
                yield Finding(words[0].start, words[stop - 1].end, "PERSON", SCORE)

    def _is_name(self, words: list[_Word]) -> bool:
        keys = [word.forms[0] for word in words]
        ends = words[-1].forms
        orders = [" ".join([*keys[:-1], end]) for end in ends]
        orders += [" ".join([*keys[1:-1], end, keys[0]]) for end in ends]  # "Schmidt, Anna"
        if self.names.isdisjoint(orders):
            return False
        return any(key not in EVERYDAY for key in keys) or all(word.text[0].isupper() for word in words)


def _part(forms: tuple[str, ...], parts: set[str]) -> str | None:
    """Returns the form that is a name of `parts`; "anna-lena" is one where both Anna and Lena are."""
    for form in forms:
        if form in parts or ("-" in form and parts.issuperset(form.split("-"))):
            return form
    return None


def _single_name(text: str, word: _Word, parts: set[str]) -> Iterator[Finding]:
    """Yields a capitalised word that is a first or last name of the row's own people."""
    found = _part(word.forms, parts)
    if found in EVERYDAY and not (BEFORE.search(text[: word.start][-24:]) or _alone(text, word)):
        return
    yield Finding(word.start, word.end, "PERSON", SCORE)


def _alone(text: str, word: _Word) -> bool:
    """Whether a word has its line to itself, as a signature has."""
    start, end = text.rfind("\n", 0, word.start) + 1, text.find("\n", word.end)
    return text[start : end if end >= 0 else None].strip(" ,.!-–") == word.text and "\n" in text
