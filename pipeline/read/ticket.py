"""Help-desk exports: how a line becomes a record.

Output contract: `rows` yields a `Row` per record: question = subject and description in the customer's own words,
answer as plain text.
This module does not know any product: what its columns are called is a `Layout`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.read.helpdesks.layout import Columns, Layout
from pipeline.read.rows import Row, parse_time, people
from pipeline.read.tables.csvfile import Record
from pipeline.read.text import clean, field_text, joined, summed, to_text
from pipeline.read.text.numbers import number


def rows(layout: Layout, records: Iterable[Record], columns: Columns) -> Iterator[Row]:
    """Makes a row of every record."""
    for line, fields in records:
        yield Row(line, readable=False) if fields is None else _row(line, fields, columns, layout.resolved)


def _row(line: int, fields: Sequence[str], columns: Columns, resolved: frozenset[str]) -> Row:
    text = {role: "" if at is None else fields[at] for role, at in columns.at.items()}
    subject, description, answer = text["subject"], text["description"], text["answer"]
    names, emails, phones = (
        tuple([field_text(fields[at]) for at in places]) for places in (columns.names, columns.emails, columns.phones)
    )
    desk = [fields[at] for at in columns.desk]
    customers = [fields[at] for at in (*columns.names, *columns.emails) if at not in columns.desk]
    prompt = joined(to_text(subject), clean(description, "customer", (subject,), desk, customers))
    response = clean(answer, "agent", (subject, description), desk, customers)
    return Row(
        line,
        prompt.text,
        response.text,
        source_id=number(text["id"]),
        label=field_text(text["label"]) or None,
        created_at=parse_time(text["created"]),
        resolved=None if columns.at["status"] is None else text["status"].strip().casefold() in resolved,
        entities=people(names, emails, phones),
        characters=len(subject) + len(description) + len(answer) + prompt.added,
        removed=summed(prompt, response),
    )
