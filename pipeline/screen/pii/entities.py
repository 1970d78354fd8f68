"""Known entities: the names, e-mail addresses and phone numbers in a dump's own columns, found again in its text.

Output contract: `KnownEntities` is built once per run, merged from parts, and holds hashes alone: 8 bytes a name. A
full name (two words or more) is found in any text, in both orders and with a genitive s; a single first or last name
only in the row's own ticket and only with a capital, and one that is also an everyday word only after a title or
greeting or alone on a line. `find_all` treats a batch: its distinct words are looked up once, and only texts where a
name can be are read word by word; it finds what `find` finds in each text (tests hold it to that).
A finding's `key` is the person's name, folded, whatever form the text has it in.
This module knows no names but those of the columns: names of third parties need an NER model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.screen.pii.hash_set import Hashes
from pipeline.screen.pii.names import EVERYDAY, MAX_WORDS, PARTICLES, WORD, forms, name_words
from pipeline.screen.pii.spans import Finding

Entities = Sequence[Mapping[str, str | None]]  # a row's `entities`: {"type": NAME | EMAIL | PHONE, "text": …}

SCORE = 0.95  # under a checksum's 1.0, over a pattern's or a model's guess
GAP = re.compile(r"\s{1,3}|\.\s|,\s")  # between two words of one name: they stand in neighbouring tokens
EMAIL = re.compile(r"[^\s<>\"'(),;:\[\]]+@[^\s<>\"'(),;:\[\]]+")
PHONE = re.compile(r"(?<!\w)[+(]{0,2}[0-9](?:[ ()/.-]{0,3}[0-9]){5,16}(?!\w)")
PHONE_NEEDS = r"[0-9](?:[ ()/.-]{0,3}[0-9]){6}"  # RE2; without it no number of `MIN_PHONE_DIGITS`
MIN_PHONE_DIGITS = 7
BEFORE = re.compile(  # what makes the next word a name even where it is an everyday word
    r"(?:^|\W)(?:herrn?|frau|familie|mrs?|ms|miss|sir|madam|dr|prof|dear|hi|hello|hey|hallo|moin|liebe[rs]?|"
    r"(?:my|i) name is|mein name ist|ich hei(?:ß|ss)e|regards|cheers|gr(?:ü|ue)(?:ß|ss)en?)[.,]?\s+$",
    re.IGNORECASE,
)
CACHED_TOKENS, LONG_TOKEN = 50_000, 64  # about 15 MB per process; longer tokens are not remembered


def person_key(words: Iterable[str]) -> str:
    """Returns what one person's name is known by, whichever of its words comes first."""
    return " ".join(sorted(words))


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
        self.forms = forms(self.text)
        if self.forms[0].endswith("'s"):
            self.end -= 2  # an English genitive stays in the sentence; a German one has no boundary of its own


@dataclass(frozen=True)
class KnownEntities:
    """What the columns of a dump know about people, as hashes of folded names, addresses and digits."""

    names: Hashes = field(default_factory=Hashes)  # of "anna schmidt"
    starts: Hashes = field(default_factory=Hashes)  # first and last words: a name in either order begins with one
    words: Hashes = field(default_factory=Hashes)  # every word of a name
    emails: Hashes = field(default_factory=Hashes)
    phones: Hashes = field(default_factory=Hashes)

    @classmethod
    def of(cls, names: Iterable[str] = (), emails: Iterable[str] = (), phones: Iterable[str] = ()) -> KnownEntities:
        """Builds from values as the columns have them."""
        full = [words for words in map(name_words, names) if 2 <= len(words) <= MAX_WORDS]
        return cls(
            Hashes.of(" ".join(words) for words in full),
            Hashes.of({word for words in full for word in (words[0], words[-1])}),
            Hashes.of({word for words in full for word in words}),
            Hashes.of(email.strip().casefold() for email in emails if "@" in email),
            Hashes.of(key for phone in phones for key in phone_keys(phone)),
        )

    @classmethod
    def collect(cls, tables: Iterable[pa.Table]) -> KnownEntities:
        """Builds from tables with the column `entities` (list of {type, text}), one after another; at no time does it
        hold the values of more than one table."""
        parts = [cls.of(*(_values(table["entities"], kind) for kind in ("NAME", "EMAIL", "PHONE"))) for table in tables]
        return cls.union(parts)

    @classmethod
    def union(cls, parts: Sequence[KnownEntities]) -> KnownEntities:
        """Returns what any of the parts knows."""
        joined = ([getattr(part, name.name).values for part in parts] for name in fields(cls))
        return cls(*(Hashes(np.unique(np.concatenate(values))) if values else Hashes() for values in joined))

    def __getstate__(self) -> dict[str, Any]:
        return {name.name: getattr(self, name.name) for name in fields(self)}

    # -- a batch ------------------------------------------------------------------------------------------------------

    def find_all(self, texts: Sequence[str], owners: pa.Array | pa.ChunkedArray) -> dict[int, list[Finding]]:
        """Returns the findings of the texts that have any, by position. `owners`: the `entities` of each text's row."""
        column = pa.array(texts, pa.string())
        found: dict[int, list[Finding]] = {}
        positions = np.flatnonzero(self._may_name(column, owners))
        own = owners.take(pa.array(positions)).to_pylist()
        for at, row in zip(positions.tolist(), own, strict=True):
            found[at] = list(self.people(texts[at], row or ()))
        if self.emails:
            for at in np.flatnonzero(pc.match_substring(column, "@")).tolist():
                found.setdefault(at, []).extend(self._addresses(texts[at]))
        if self.phones:
            for at in np.flatnonzero(pc.match_substring_regex(column, PHONE_NEEDS)).tolist():
                found.setdefault(at, []).extend(self._numbers(texts[at]))
        return {at: findings for at, findings in found.items() if findings}

    def _may_name(self, column: pa.Array, owners: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Returns a boolean per text: whether two neighbouring tokens may begin a known name, or one is a name of the
        people of the batch."""
        tokens = pc.utf8_split_whitespace(column)
        encoded = tokens.flatten().dictionary_encode()
        of_batch = frozenset(_parts([name_words(name) for name in _values(owners, "NAME")]))
        facts = [self._token(text, of_batch) for text in encoded.dictionary.to_pylist()]
        starts, words, owns = np.array(facts, bool).reshape(-1, 3)[np.asarray(encoded.indices)].T
        rows = np.repeat(np.arange(len(column)), np.asarray(pc.list_value_length(tokens)))
        pairs = starts[:-1] & words[1:] & (rows[:-1] == rows[1:])
        possible = np.zeros(len(column), bool)
        possible[rows[:-1][pairs]] = True
        possible[rows[owns]] = True
        return possible

    def _token(self, text: str, of_batch: frozenset[str]) -> tuple[bool, bool, bool]:
        """Returns whether one of the token's words may begin a known name, be in one, name a person of the batch."""
        start, word, kinds = self._facts(text)
        return start, word, any(_part(kind, of_batch) for kind in kinds)

    def _facts(self, token: str) -> tuple[bool, bool, tuple[tuple[str, ...], ...]]:
        """Returns `_classify(token)`, from memory for a token of usual length."""
        facts: tuple[bool, bool, tuple[tuple[str, ...], ...]]
        facts = self._remembered(token) if len(token) <= LONG_TOKEN else self._classify(token)
        return facts

    @cached_property
    def _remembered(self) -> Any:
        return lru_cache(CACHED_TOKENS)(self._classify)

    def _classify(self, text: str) -> tuple[bool, bool, tuple[tuple[str, ...], ...]]:
        """Returns whether a word of the token may begin a known name, may be in one, and its capitals' forms."""
        kinds = {word: forms(word) for word in WORD.findall(text)}
        every = [form for kind in kinds.values() for form in kind]
        capitals = tuple(kind for word, kind in kinds.items() if word[0].isupper())
        start = any(form in self.starts for form in every) if self.starts else False
        return start, any(form in self.words for form in every) if self.words else False, capitals

    # -- one text -----------------------------------------------------------------------------------------------------

    def find(self, text: str, own: Entities = ()) -> Iterator[Finding]:
        """Yields findings, which may overlap; `own` are the entities of the row that the text belongs to."""
        yield from self.people(text, own)
        yield from self._addresses(text)
        yield from self._numbers(text)

    def _addresses(self, text: str) -> Iterator[Finding]:
        for match in EMAIL.finditer(text):
            address = match.group().rstrip(".!?")
            if address.casefold() in self.emails:
                yield Finding(match.start(), match.start() + len(address), "EMAIL_ADDRESS", SCORE)

    def _numbers(self, text: str) -> Iterator[Finding]:
        for match in PHONE.finditer(text):
            if any(key in self.phones for key in phone_keys(match.group())):
                yield Finding(*match.span(), "PHONE_NUMBER", SCORE)

    def people(self, text: str, own: Entities = ()) -> Iterator[Finding]:
        """Yields the names in one text."""
        parts = _parts([name_words(entity["text"] or "") for entity in own if entity["type"] == "NAME"])
        words = set(WORD.findall(text))
        starts = {word for word in words if self._facts(word)[0]}
        singles = {word for word in words if word[0].isupper() and _part(forms(word), parts)}
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
            if key := self._name(words[:stop]):
                yield Finding(words[0].start, words[stop - 1].end, "PERSON", SCORE, key)

    def _name(self, words: list[_Word]) -> str | None:
        """Returns the key of the known name that consecutive words are, in either order."""
        keys = [word.forms[0] for word in words]
        for end in words[-1].forms:
            for order in ([*keys[:-1], end], [*keys[1:-1], end, keys[0]]):  # the second: "Schmidt, Anna"
                if " ".join(order) in self.names:
                    plain = any(key not in EVERYDAY for key in keys) or all(word.text[0].isupper() for word in words)
                    return person_key(order) if plain else None
        return None


def _values(column: pa.Array | pa.ChunkedArray, kind: str) -> list[str]:
    """Returns the distinct texts of one type in a column of entities."""
    flat = pc.list_flatten(column)
    flat = flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat
    types, texts = pc.struct_field(flat, "type"), pc.struct_field(flat, "text")
    return [text for text in texts.filter(pc.equal(types, kind)).unique().to_pylist() if text]


def _parts(names: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """Returns the single names of a row's people, each with the key of its person: of itself where two share it."""
    parts: dict[str, str] = {}
    for words in names:
        for word in words:
            if len(word) > 1 and word not in PARTICLES:
                key = person_key(words)
                parts[word] = key if parts.get(word, key) == key else word
    return parts


def _part(kinds: tuple[str, ...], parts: Mapping[str, str] | frozenset[str]) -> str | None:
    """Returns the form that is a name of `parts`; "anna-lena" is one where both Anna and Lena are."""
    for form in kinds:
        if form in parts or ("-" in form and all(piece in parts for piece in form.split("-"))):
            return form
    return None


def _single_name(text: str, word: _Word, parts: Mapping[str, str]) -> Iterator[Finding]:
    """Yields a capitalised word that is a first or last name of the row's own people."""
    found = _part(word.forms, parts)
    if found is None or (found in EVERYDAY and not (BEFORE.search(text[: word.start][-24:]) or _alone(text, word))):
        return
    yield Finding(word.start, word.end, "PERSON", SCORE, parts.get(found, found))


def _alone(text: str, word: _Word) -> bool:
    """Whether a word has its line to itself, as a signature has."""
    start, end = text.rfind("\n", 0, word.start) + 1, text.find("\n", word.end)
    return text[start : end if end >= 0 else None].strip(" ,.!-–") == word.text and "\n" in text
