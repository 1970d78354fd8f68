"""Help-desk exports: which column of a ticket table is which, and how a line becomes a record.

Output contract: `Layout.score` and `Layout.locate` find a product and its columns in a header, whatever their case and
punctuation; `rows` yields a `Row` per CSV record: question = subject and description in the customer's own words,
answer as plain text.
This module does not know any product: `zendesk` and `freshdesk` say what their columns are called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

from pipeline.errors import InputError
from pipeline.read.clean import answer_words, own_words
from pipeline.read.csvfile import Record
from pipeline.read.markup import plain
from pipeline.read.rows import RESOLVED, Row, parse_time, people
from pipeline.read.spotless import ANSWER, MARKUP, MESSAGE, clean_all

BLOCK = 4_000  # records cleaned at once
BLOCK_TEXT = 4 << 20  # or fewer, with so many characters
ROLES = ("id", "subject", "description", "answer", "label", "status", "created")


def simple(name: str) -> str:
    """Folds a column name: `Ticket created - Timestamp` -> `ticket created timestamp`, `Topic [list]` -> `topic`."""
    name = re.sub(r"\s*\[[a-z]+\]\s*$", "", name.casefold())  # Zendesk puts the type of a custom field there
    return " ".join(re.findall(r"\w+", name.replace("_", " ")))


@dataclass(frozen=True)
class Columns:
    """Positions of a ticket's columns in a row; None where the table has no such column."""

    at: Mapping[str, int | None]  # by role
    names: tuple[int, ...]
    emails: tuple[int, ...]
    phones: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a product names its columns, folded by `simple`; of several names for one role the first found counts."""

    product: str
    signs: frozenset[str]  # columns that only this product has
    roles: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...]
    emails: tuple[str, ...]
    phones: tuple[str, ...]
    resolved: frozenset[str] = RESOLVED

    def score(self, header: Sequence[str]) -> int:
        """Returns how many columns only this product has; two or more identify an export."""
        return len(self.signs & {simple(name) for name in header})

    def locate(self, header: Sequence[str], path: str) -> Columns:
        """Returns where the columns are; raises `InputError` when question or answer is missing or there twice."""
        folded = [simple(name) for name in header]

        def find(role: str) -> int | None:
            for name in self.roles[role]:
                if folded.count(name) > 1:
                    raise InputError(f"{path}: two columns are called `{name}`; rename the one that is not meant")
                if name in folded:
                    return folded.index(name)
            return None

        at = {role: find(role) for role in ROLES}
        if at["answer"] is None or (at["subject"] is None and at["description"] is None):
            role, what = ("answer", "answer") if at["answer"] is None else ("description", "question")
            known = ", ".join(f"`{name}`" for name in self.roles[role])
            raise InputError(
                f"{path} is a {self.product} export without a column for the {what} (known names, in any case: "
                f"{known}). {self.product}'s plain CSV export holds no conversations: add the column to the export, or "
                "name the columns in curate.read.tables"
            )
        several = (self.names, self.emails, self.phones)
        return Columns(at, *(tuple(i for i, name in enumerate(folded) if name in known) for known in several))

    def _block(self, block: Sequence[Record], columns: Columns) -> Iterator[Row]:
        """Makes rows column by column."""
        whole = [fields for _, fields in block if fields is not None]

        def texts(role: str) -> list[str]:
            at = columns.at[role]
            return [""] * len(whole) if at is None else [fields[at].strip() for fields in whole]

        def several(positions: Sequence[int]) -> Iterable[tuple[str, ...]]:
            return (
                zip(*([fields[at] for fields in whole] for at in positions), strict=True) if positions else repeat(())
            )

        subjects = clean_all(texts("subject"), plain, MARKUP)
        prompts = map(question, subjects, clean_all(texts("description"), _message, MESSAGE))
        none = columns.at["status"] is None
        made = zip(
            prompts,
            clean_all(texts("answer"), _answer, ANSWER),
            texts("id"),
            texts("label"),
            map(parse_time, texts("created")),
            repeat(None) if none else (status.casefold() in self.resolved for status in texts("status")),
            map(people, several(columns.names), several(columns.emails), several(columns.phones)),
            strict=False,  # no columns, no end
        )
        for line, fields in block:
            if fields is None:
                yield Row(line, readable=False)
            else:
                prompt, response, source_id, label, created, resolved, known = next(made)
                yield Row(line, prompt, response, "qa", source_id, label or None, created, resolved, known)

    def rows(self, records: Iterable[Record], columns: Columns) -> Iterator[Row]:
        """Makes a row of every record."""
        block: list[Record] = []
        size = 0
        for record in records:
            block.append(record)
            size += 0 if record[1] is None else sum(map(len, record[1]))
            if len(block) == BLOCK or size > BLOCK_TEXT:
                yield from self._block(block, columns)
                block, size = [], 0
        yield from self._block(block, columns)


def _message(text: str) -> str:
    return own_words(plain(text))


def _answer(text: str) -> str:
    return answer_words(plain(text))


def question(subject: str, description: str) -> str:
    """Returns subject, blank line, description; the description alone when it begins with the subject."""
    if not subject or not description:
        return subject or description
    alike = subject[0].casefold()[0] == description[0].casefold()[0]  # spares folding nearly all
    if alike and description.casefold().startswith(subject.casefold()):
        return description
    return f"{subject}\n\n{description}"
