"""The leak audit: a second, stricter search for personal data in the kept rows.

Output contract: `audit` returns the number of rows read and, by type, the number of findings, of rows with one, of rows
per 1,000, and the first rows' ids; never text. The rows are those with the smallest ids: ids are content hashes, so
this is a random sample that is the same in every run. The search calls every recogniser for every text at any score,
and looks for seven digits or more, addresses and IBANs in odd forms, digits after a word for a password, long random
words, a postcode before a word, a name after a title, greeting or closing, and every word of a known name. It reads the
texts as the first search does: folded (`fold`). It finds too much on purpose: its counts are an upper bound for a
person to check, row by row, and not an error rate.
This module changes no row.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline import schema
from pipeline.config import Pii
from pipeline.screen.pii.entities import KnownEntities
from pipeline.screen.pii.fold import fold as as_read
from pipeline.screen.pii.names import EVERYDAY, GENERIC, PARTICLES, WORD, fold, forms

ROWS_LISTED = 20  # ids listed for each type
COLUMNS = ["id", "lang", *schema.FIRST, "later"]
REPLACED = re.compile(r"<[A-Z][A-Z0-9_]*(?:[_:][a-p]+)?>")  # placeholder, pseudonym, hash
DATE = re.compile(r"\b\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d{2})\b|\b\d{4}-\d{2}-\d{2}\b")  # not a number of anybody
NUMBERS = {
    "DIGITS": re.compile(r"\d(?:[ ./()–-]{0,3}\d){6,}"),
    "ADDRESS_LIKE": re.compile(
        r"[^\s@<>]+\s?(?:@|[(\[] ?at ?[)\]])\s?[\w-]+|\b[\w.-]+ at [\w-]+ (?:dot|punkt) [a-z]{2,}\b", re.IGNORECASE
    ),
    "SECRET_LIKE": re.compile(
        r"\b(?:passw\w*|kennwort|pwd|pin|cvv|tan|token|key)\b(?:\W{0,3}(?:is|ist|lautet|war|was)\b)?\W{1,3}(?=\S*\d)\S{3,}"
        r"|(?-i:\b(?=\w*\d)(?=\w*[a-z])(?=\w*[A-Z])\w{20,}\b)",
        re.IGNORECASE,
    ),
    "TOWN_LIKE": re.compile(r"(?<![\w.,:/#-])\d{5} [A-ZÄÖÜ][a-zäöüß]{2,}"),
    "IBAN_LIKE": re.compile(r"\b[a-z]{2}\d{2}(?:[ .-]?[a-z0-9]{2,4}){3,8}\b", re.IGNORECASE),
}
_NAME = r"([A-ZÄÖÜ][\w'’-]+)"
NAMES = {
    "NAME_AFTER_TITLE": re.compile(rf"\b(?:Herrn?|Frau|Familie|Mr|Mrs|Ms|Miss|Dr|Prof)\.?[ \n]+{_NAME}"),
    "NAME_AFTER_GREETING": re.compile(rf"\b(?:Dear|Hi|Hello|Hey|Hallo|Moin|Liebe[rs]?|Guten Tag)[ ,]+{_NAME}"),
    "NAME_AFTER_CLOSING": re.compile(
        r"(?i:gr(?:ü|ue)(?:ß|ss)en?|gru(?:ß|ss)|regards|sincerely|wishes|thanks|thank you|danke|cheers)[,.!]?\s*\n+\s*"
        + _NAME
    ),
}
OF_TEAMS = frozenset(map(fold, GENERIC)) | {"your", "ihr", "ihre", "euer", "the"}


def audit(tables: Iterable[pa.Table], settings: Pii, languages: Sequence[str], known: KnownEntities) -> dict[str, Any]:
    """Reads `settings.audit_rows` of the kept rows again.

    `tables`: kept rows (`COLUMNS` of RECORD), one after another; at most two tables are in memory.
    """
    sampled = sample(tables, settings.audit_rows)
    counts: Counter[str] = Counter()
    rows: dict[str, list[str]] = defaultdict(list)
    search = _Strict(settings, languages, known)
    for row in sampled.to_pylist():
        text = "\n\n".join(schema.turns_of(row))
        in_row = Counter(search.types(text, row["lang"]))
        counts += in_row
        for kind in in_row:
            rows[kind].append(row["id"])
    types = {
        kind: {
            "findings": counts[kind],
            "rows": len(rows[kind]),
            "rows_per_1000": round(1000 * len(rows[kind]) / sampled.num_rows, 3),
            "first_ids": rows[kind][:ROWS_LISTED],
        }
        for kind in sorted(counts)
    }
    return {
        "rows": sampled.num_rows,
        "rows_with_findings": len(set().union(*rows.values())),
        "types": types,
    }


def sample(tables: Iterable[pa.Table], rows: int) -> pa.Table:
    """Returns the rows with the smallest ids, in order of id."""
    smallest = schema.RECORD.empty_table().select(COLUMNS)
    for table in tables:
        smallest = pa.concat_tables([smallest, table.select(COLUMNS).cast(smallest.schema)])
        smallest = smallest.sort_by("id").slice(0, rows).combine_chunks()
    return smallest


class _Strict:
    """The stricter search."""

    def __init__(self, settings: Pii, languages: Sequence[str], known: KnownEntities) -> None:
        from pipeline.screen.pii.recognisers import allowed, is_allowed
        from pipeline.screen.pii.scrub import engine

        self._engines = {language: engine(settings, language) for language in languages}
        self._default, self._known = languages[0], known
        self._allowed, self._is_allowed = allowed(settings.allow_list), is_allowed(settings.allow_list)

    def types(self, text: str, language: str | None) -> Iterator[str]:
        """Yields the type of every finding in a text; replacements are taken out first."""
        text = REPLACED.sub("…", as_read(text).text)
        language = language if language in self._engines else self._default
        results = self._engines[language].analyze(
            text, language, score_threshold=0, allow_list=self._allowed, allow_list_match="regex"
        )
        yield from (result.entity_type for result in results)
        for kind, pattern in NUMBERS.items():
            yield from (kind for _ in pattern.finditer(DATE.sub("…", text)))
        for kind, pattern in NAMES.items():
            names = (match[1] for match in pattern.finditer(text))
            yield from (kind for name in names if fold(name) not in OF_TEAMS and not self._is_allowed(name))
        yield from ("KNOWN_NAME" for word in WORD.findall(text) if self._is_known(word) and not self._is_allowed(word))

    def _is_known(self, word: str) -> bool:
        """Whether a capitalised word is part of a known name and no everyday word."""
        return word[0].isupper() and any(
            form in self._known.words for form in forms(word) if len(form) > 2 and form not in EVERYDAY | PARTICLES
        )
