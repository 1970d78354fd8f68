"""The section `curate.read`: what the columns of a table mean, and how a page becomes rows."""

from __future__ import annotations

from pydantic import Field

from pipeline.config.values import Encoding, Settings


class Columns(Settings):
    """Which column of a table holds which field of a record. `prompt` and `response` must be there."""

    prompt: str = Field(description="Column of the customer's question.")
    response: str = Field(description="Column of the company's answer.")
    source_id: str | None = Field(
        None, description="Column of the ticket's number; null: the file's path and the line."
    )
    label: str | None = Field(None, description="Column of the topic; splits are stratified by it.")
    created_at: str | None = Field(None, description="Column of the date or time, in UTC where it has no zone.")
    status: str | None = Field(
        None, description="Column of the status; of near duplicates, a solved, closed or resolved ticket is kept."
    )
    names: tuple[str, ...] = Field((), description="Columns of people's names, scrubbed wherever they recur in a text.")
    emails: tuple[str, ...] = Field((), description="Columns of e-mail addresses, scrubbed likewise.")
    phones: tuple[str, ...] = Field((), description="Columns of telephone numbers, scrubbed likewise.")


class TableSource(Settings):
    """How to read the tables whose file name matches; Zendesk and Freshdesk exports need no entry."""

    match: str = Field(
        description="Glob on a file's name or on its path below the input, such as `*.csv` or `export.zip/*`."
    )
    columns: Columns = Field(description="Columns that hold the fields of a record.")
    part: str | None = Field(
        None,
        description="Name of a workbook's sheet, or path of the list in a JSON document, such as `data.tickets`; null: "
        "those that have the columns.",
    )
    encoding: Encoding | None = Field(None, description="As `curate.read.encoding`, for these files.")


class Markdown(Settings):
    """A page becomes one document per section. One with question and answer sections becomes one question/answer
    pair of them (title and questions -> answers); its other sections stay documents. Headings compare without case."""

    questions: tuple[str, ...] = Field((), description="Headings of the sections that hold a question.")
    answers: tuple[str, ...] = Field((), description="Headings of the sections that hold an answer.")


class Mail(Settings):
    """A thread becomes one row: the first mail of a customer and the first answer of the company to it."""

    company: tuple[str, ...] = Field(
        (),
        description="Globs on the company's mail addresses, such as `*@example.org`; empty: the domain that takes "
        "part in nearly every thread, or else who writes first is the customer.",
    )


class Read(Settings):
    """How files become rows."""

    ignore: tuple[str, ...] = Field(
        (), description="Globs on files' names or on their paths below the input: what matches is not read."
    )
    encoding: Encoding | None = Field(
        None,
        description="Encoding of every text without a byte order mark, by a name that Python knows (`cp1250`); null: "
        "detected, file by file.",
    )
    tables: tuple[TableSource, ...] = Field((), description="Rules for tables; the first that matches a file counts.")
    mail: Mail = Mail()
    markdown: Markdown = Markdown()
