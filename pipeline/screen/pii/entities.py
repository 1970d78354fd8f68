"""Known entities: the names, e-mail addresses and phone numbers in a dump's own columns, found again in its text.

Output contract: `KnownEntities` is built once per run, merged from parts, and holds hashes alone: 8 bytes a name. A
full name (two words or more) is found in any text, in both orders, in any letter case, joined as in a file's name
(`mustermann_max`) and with a genitive s; a single first or last name only in the row's own ticket, and one that is
short, in small letters or also an everyday word only after a title or greeting or alone on a line. `find_all` looks up
the distinct words of a batch once and reads only those texts word by word in which a name is possible; its findings
equal those of `find` (a test checks this). A finding's `identity` is the person's folded name in every written form.
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

from pipeline.screen.pii.hash_set import HashSet
from pipeline.screen.pii.names import EVERYDAY, MAX_WORDS, PARTICLES, SMALL_WORDS, WORD, forms, name_words
from pipeline.screen.pii.spans import Finding

Entities = Sequence[Mapping[str, str | None]]  # a row's `entities`: {"type": NAME | EMAIL | PHONE, "text": …}

SCORE = 0.95  # under a checksum's 1.0, over a pattern's or a model's guess
GAP = re.compile(r"\s{1,3}|[.,]\s?|[_/+]")  # between two words of one name: in one token or in neighbouring ones
EMAIL = re.compile(r"[^\s<>\"'(),;:\[\]]+@[^\s<>\"'(),;:\[\]]+")
PHONE = re.compile(r"(?<!\w)[+(]{0,2}[0-9](?:[ ()/.-]{0,3}[0-9]){5,16}(?!\w)")
PHONE_PREFILTER = r"[0-9](?:[ ()/.-]{0,3}[0-9]){6}"  # RE2; matches every number of `MIN_PHONE_DIGITS`
MIN_PHONE_DIGITS = 7
BEFORE = re.compile(  # after it an everyday word is a name
    r"(?:^|\W)(?:herrn?|frau|familie|mrs?|ms|miss|sir|madam|dr|prof|dear|hi|hello|hey|hallo|moin|liebe[rs]?|"
    r"(?:my|i) name is|mein name ist|ich hei(?:ß|ss)e|regards|cheers|thanks|thx|best|danke|gru(?:ß|ss)|lg|vg|mfg|"
    r"gr(?:ü|ue)(?:ß|ss)en?)[.,!]?\s+$",
    re.IGNORECASE,
)
_Lookup = tuple[bool, bool, bool, tuple[tuple[str, ...], ...]]
"""A word of a token may begin a known name; one may be in a known name; one of each; the base forms of its words."""
SMALL = 4  # letters of a name in small letters, at least: `an`, `do`, `so` are names, too
CACHED_TOKENS, LONG_TOKEN = 50_000, 64  # about 15 MB per process; longer tokens are not cached


def person_identity(words: Iterable[str]) -> str:
    """Returns a person's identity: the words of the name in alphabetical order."""
    return " ".join(sorted(words))


def phone_forms(text: str) -> tuple[str, ...]:
    """Returns a phone number's digits without leading zeros; an international one's also without country code."""
    digits = re.sub(r"\D", "", re.sub(r"\(0\)", "", text))
    core = digits.lstrip("0")
    candidates = [core]
    if "+" in text or digits.startswith("00"):
        candidates += [core[length:].lstrip("0") for length in (1, 2, 3)]
    return tuple(form for form in candidates if len(form) >= MIN_PHONE_DIGITS)


class _Word:
    """A word of a text with its position."""

    __slots__ = ("end", "forms", "start", "text")

    def __init__(self, match: re.Match[str]) -> None:
        self.text = match.group()
        self.start, self.end = match.span()
        self.forms = forms(self.text)
        if self.forms[0].endswith("'s"):
            self.end -= 2  # an English genitive stays in the sentence; a German one has no boundary of its own


@dataclass(frozen=True)
class KnownEntities:
    """The people in the columns of a dump, as hashes of folded names, addresses and digits."""

    names: HashSet = field(default_factory=HashSet)  # of "anna schmidt"
    starts: HashSet = field(default_factory=HashSet)  # first and last words: a name in either order begins with one
    words: HashSet = field(default_factory=HashSet)  # every word of a name
    emails: HashSet = field(default_factory=HashSet)
    phones: HashSet = field(default_factory=HashSet)

    @classmethod
    def of(cls, names: Iterable[str] = (), emails: Iterable[str] = (), phones: Iterable[str] = ()) -> KnownEntities:
        """Builds from values as the columns have them."""
        full = [words for words in map(name_words, names) if 2 <= len(words) <= MAX_WORDS]
        return cls(
            HashSet.of(" ".join(words) for words in full),
            HashSet.of({word for words in full for word in (words[0], words[-1])}),
            HashSet.of({word for words in full for word in words}),
            HashSet.of(email.strip().casefold() for email in emails if "@" in email),
            HashSet.of(form for phone in phones for form in phone_forms(phone)),
        )

    @classmethod
    def collect(cls, tables: Iterable[pa.Table]) -> KnownEntities:
        """Builds from tables with the column `entities` (list of {type, text}); one table's values are in memory."""
        parts = [cls.of(*(_values(table["entities"], kind) for kind in ("NAME", "EMAIL", "PHONE"))) for table in tables]
        return cls.union(parts)

    @classmethod
    def union(cls, parts: Sequence[KnownEntities]) -> KnownEntities:
        """Returns the union of the parts."""
        joined = ([getattr(part, name.name).values for part in parts] for name in fields(cls))
        return cls(*(HashSet(np.unique(np.concatenate(values))) if values else HashSet() for values in joined))

    def __getstate__(self) -> dict[str, Any]:
        return {name.name: getattr(self, name.name) for name in fields(self)}

    # -- a batch ------------------------------------------------------------------------------------------------------

    def find_all(self, texts: Sequence[str], owners: pa.Array | pa.ChunkedArray) -> dict[int, list[Finding]]:
        """Returns the findings of the texts that have any, by position. `owners`: the `entities` of each text's row."""
        column = pa.array(texts, pa.string())
        result: dict[int, list[Finding]] = {}
        rows = np.flatnonzero(self._may_name(column, owners))
        for row, entities in zip(rows.tolist(), owners.take(pa.array(rows)).to_pylist(), strict=True):
            result[row] = list(self.people(texts[row], entities or ()))
        if self.emails:
            for row in np.flatnonzero(pc.match_substring(column, "@")).tolist():
                result.setdefault(row, []).extend(self._addresses(texts[row]))
        if self.phones:
            for row in np.flatnonzero(pc.match_substring_regex(column, PHONE_PREFILTER)).tolist():
                result.setdefault(row, []).extend(self._numbers(texts[row]))
        return {row: findings for row, findings in result.items() if findings}

    def _may_name(self, column: pa.Array, owners: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Returns bool (texts,): two neighbouring words may be of a known name, or one names a person of the row."""
        tokens = pc.utf8_split_whitespace(column)
        encoded = tokens.flatten().dictionary_encode()
        of_batch = frozenset(_parts([name_words(name) for name in _values(owners, "NAME")]))
        vocabulary = encoded.dictionary.to_pylist()
        indices = np.asarray(encoded.indices)
        flags = np.array([self._token(text, of_batch) for text in vocabulary], bool).reshape(-1, 4)
        starts, words, both, in_batch = flags[indices].T
        rows = np.repeat(np.arange(len(column)), np.asarray(pc.list_value_length(tokens)))
        pairs = starts[:-1] & words[1:] & (rows[:-1] == rows[1:])
        possible = np.zeros(len(column), bool)
        possible[rows[:-1][pairs]] = True
        possible[rows[both]] = True
        tokens_of: dict[int, set[int]] = {}  # of the rows where a word names somebody of the batch
        for token in np.flatnonzero(in_batch & ~possible[rows]).tolist():
            tokens_of.setdefault(int(rows[token]), set()).add(int(indices[token]))
        own = owners.take(pa.array(list(tokens_of), pa.int64())).to_pylist()
        for (row, distinct), entities in zip(tokens_of.items(), own, strict=True):
            parts = frozenset(_parts(_people(entities or ())))
            bases = (group for token in distinct for group in self._lookup(vocabulary[token])[3])
            possible[row] = any(_part(group, parts) for group in bases)
        return possible

    def _token(self, text: str, of_batch: frozenset[str]) -> tuple[bool, bool, bool, bool]:
        """Returns whether a word of the token may begin a known name, be in one, both, name a person of the batch."""
        start, word, both, every = self._lookup(text)
        return start, word, both, any(_part(bases, of_batch) for bases in every)

    def _lookup(self, token: str) -> _Lookup:
        """Returns `_classify(token)`, cached for a token of usual length."""
        result: _Lookup = self._cached(token) if len(token) <= LONG_TOKEN else self._classify(token)
        return result

    @cached_property
    def _cached(self) -> Any:
        return lru_cache(CACHED_TOKENS)(self._classify)

    def _classify(self, text: str) -> _Lookup:
        bases = [forms(word) for word in WORD.findall(text)]
        starts = [any(form in self.starts for form in group) for group in bases] if self.starts else []
        words = [any(form in self.words for form in group) for group in bases] if self.words else []
        return any(starts), any(words), any(starts) and sum(words) > 1, tuple(bases)

    # -- one text -----------------------------------------------------------------------------------------------------

    def find(self, text: str, entities: Entities = ()) -> Iterator[Finding]:
        """Yields findings, which may overlap. `entities`: those of the text's row."""
        yield from self.people(text, entities)
        yield from self._addresses(text)
        yield from self._numbers(text)

    def _addresses(self, text: str) -> Iterator[Finding]:
        for match in EMAIL.finditer(text):
            address = match.group().rstrip(".!?")
            if address.casefold() in self.emails:
                yield Finding(match.start(), match.start() + len(address), "EMAIL_ADDRESS", SCORE)

    def _numbers(self, text: str) -> Iterator[Finding]:
        for match in PHONE.finditer(text):
            if any(form in self.phones for form in phone_forms(match.group())):
                yield Finding(*match.span(), "PHONE_NUMBER", SCORE)

    def people(self, text: str, entities: Entities = ()) -> Iterator[Finding]:
        """Yields the names in one text."""
        parts = _parts(_people(entities))
        words = set(WORD.findall(text))
        starts = {word for word in words if self._lookup(word)[0]}
        singles = {word for word in words if _part(forms(word), parts)} if parts else set()
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
            if identity := self._name(words[:stop]):
                yield Finding(words[0].start, words[stop - 1].end, "PERSON", SCORE, identity)

    def _name(self, words: list[_Word]) -> str | None:
        """Returns the person's identity where consecutive words are a known name, in either order."""
        folded = [word.forms[0] for word in words]
        for end in words[-1].forms:
            for order in ([*folded[:-1], end], [*folded[1:-1], end, folded[0]]):  # the second: "Schmidt, Anna"
                if " ".join(order) in self.names:
                    plain = any(word not in EVERYDAY for word in folded) or all(
                        word.text[0].isupper() for word in words
                    )
                    return person_identity(order) if plain else None
        return None


def _people(entities: Entities) -> list[tuple[str, ...]]:
    """Returns the words of each name of a row's people."""
    return [name_words(entity["text"] or "") for entity in entities if entity["type"] == "NAME"]


def _values(column: pa.Array | pa.ChunkedArray, kind: str) -> list[str]:
    """Returns the distinct texts of one type in a column of entities."""
    flat = pc.list_flatten(column)
    flat = flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat
    types, texts = pc.struct_field(flat, "type"), pc.struct_field(flat, "text")
    return [text for text in texts.filter(pc.equal(types, kind)).unique().to_pylist() if text]


def _parts(names: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """Returns name -> identity for the single names of a row's people; a name of two people is its own identity."""
    parts: dict[str, str] = {}
    for words in names:
        for word in words:
            if len(word) > 1 and word not in PARTICLES:
                identity = person_identity(words)
                parts[word] = identity if parts.get(word, identity) == identity else word
    return parts


def _part(bases: tuple[str, ...], parts: Mapping[str, str] | frozenset[str]) -> str | None:
    """Returns the base form that is a name of `parts`; "anna-lena" is one where both Anna and Lena are."""
    for form in bases:
        if form in parts or ("-" in form and all(half in parts for half in form.split("-"))):
            return form
    return None


def _single_name(text: str, word: _Word, parts: Mapping[str, str]) -> Iterator[Finding]:
    """Yields a word that is a first or last name of the row's own people."""
    name = _part(word.forms, parts)
    if name is None:
        return
    capital = word.text[0].isupper()
    doubtful = name in EVERYDAY or (not capital and (len(name) < SMALL or name in SMALL_WORDS))
    if doubtful and not (BEFORE.search(text[: word.start][-24:]) or _alone(text, word)):
        return
    yield Finding(word.start, word.end, "PERSON", SCORE, parts.get(name, name))


def _alone(text: str, word: _Word) -> bool:
    """Whether a word has its line to itself, as a signature has."""
    start, end = text.rfind("\n", 0, word.start) + 1, text.find("\n", word.end)
    return text[start : end if end >= 0 else None].strip(" ,.!-–") == word.text and "\n" in text
