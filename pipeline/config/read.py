"""The section `curate.read`: what the columns of a table mean, and how a page becomes rows."""

from __future__ import annotations

from pipeline.config.values import Settings


class Columns(Settings):
    """Which column of a table holds which field of a record. `prompt` and `response` must be there."""

    prompt: str
    response: str
    source_id: str | None = None
    label: str | None = None
    created_at: str | None = None
    status: str | None = None  # "solved", "closed" or "resolved", in any case, make a row count as resolved
    names: tuple[str, ...] = ()  # columns with names of people: scrubbed wherever they recur in the text
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()


class TableSource(Settings):
    """How to read the tables whose file name matches; Zendesk and Freshdesk exports need no entry."""

    match: str  # glob on the file name
    columns: Columns


class Markdown(Settings):
    """A page becomes one document per section. One with question and answer sections becomes one question/answer
    pair of them (title and questions -> answers); its other sections stay documents. Headings compare without case."""

    questions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Read(Settings):
    tables: tuple[TableSource, ...] = ()  # first match wins
    markdown: Markdown = Markdown()
