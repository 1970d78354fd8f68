"""Help-desk exports: how a line becomes a record.

Output contract: `rows` yields a `Row` per record: question = subject and description in the customer's own words,
answer as plain text.
This module does not know any product: what its columns are called is a `Layout`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.read.helpdesks.layout import Columns, Layout
from pipeline.read.rows import Row, parse_time, people
from pipeline.read.tables.csvfile import Record
from pipeline.read.text.markup import plain
from pipeline.read.text.quotes import answer_words, own_words


def rows(layout: Layout, records: Iterable[Record], columns: Columns) -> Iterator[Row]:
    """Makes a row of every record."""
    for line, fields in records:
        if fields is None:
            yield Row(line, readable=False)
            continue
        text = {role: "" if at is None else fields[at].strip() for role, at in columns.at.items()}
        several = (columns.names, columns.emails, columns.phones)
        yield Row(
            line,
            question(plain(text["subject"]), own_words(plain(text["description"]))),
            answer_words(plain(text["answer"])),
            source_id=text["id"],
            label=text["label"] or None,
            created_at=parse_time(text["created"]),
            resolved=None if columns.at["status"] is None else text["status"].casefold() in layout.resolved,
            entities=people(*(tuple([fields[at] for at in places]) for places in several)),
        )


def question(subject: str, description: str) -> str:
    """Returns subject, blank line, description; the description alone when it begins with the subject."""
    if not subject or not description:
        return subject or description
    alike = subject[0].casefold()[0] == description[0].casefold()[0]  # spares folding nearly all
    if alike and description.casefold().startswith(subject.casefold()):
        return description
    return f"{subject}\n\n{description}"
