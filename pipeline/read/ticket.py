"""Help-desk exports: which column of a ticket table is which, and how a line becomes a record.

Output contract: `Layout.score` and `Layout.locate` find a product and its columns in a header, whatever their case and
punctuation; `rows` yields a `Row` per CSV record: question = subject and description in the customer's own words,
answer as plain text.
This module does not know any product: `zendesk` and `freshdesk` say what their columns are called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.read.clean import answer_words, own_words
from pipeline.read.csvfile import records
from pipeline.read.markup import plain
from pipeline.read.places import open_lines
from pipeline.read.rows import RESOLVED, Row, parse_time, people

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

    def row(self, line: int, fields: Sequence[str], columns: Columns) -> Row:
        """Makes a row of one record."""

        def value(role: str) -> str:
            at = columns.at[role]
            return "" if at is None else fields[at].strip()

        status = value("status").casefold()
        known = (columns.names, columns.emails, columns.phones)
        return Row(
            line,
            question(plain(value("subject")), own_words(plain(value("description")))),
            answer_words(plain(value("answer"))),
            source_id=value("id"),
            label=value("label") or None,
            created_at=parse_time(value("created")),
            resolved=None if columns.at["status"] is None else status in self.resolved,
            entities=people(*([fields[at] for at in positions] for positions in known)),
        )

    def rows(self, uri: str, encoding: str, header: Sequence[str], delimiter: str, path: str) -> Iterator[Row]:
        """Reads an export, streaming; every record comes out once."""
        columns = self.locate(header, path)
        with open_lines(uri, encoding) as lines:
            found = records(lines, delimiter, len(header))
            next(found)  # the header
            for line, fields in found:
                yield Row(line, readable=False) if fields is None else self.row(line, fields, columns)


def question(subject: str, description: str) -> str:
    """Returns subject, blank line, description; the description alone when it begins with the subject."""
    if not subject or description.casefold().startswith(subject.casefold()):
        return description
    return f"{subject}\n\n{description}" if description else subject
