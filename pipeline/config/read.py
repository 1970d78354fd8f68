"""The section `curate.read`: what the columns of a table mean, and how a page becomes rows."""

from __future__ import annotations

from pydantic import Field

from pipeline.config.values import Settings


class Columns(Settings):
    """Which column of a table holds which field of a record. `prompt` and `response` must be there."""

    prompt: str | tuple[str, ...] = Field(
        min_length=1,
        description="Column of the customer's question; of a list, such as `[subject, body]`, the texts one below the "
        "other.",
    )
    response: str | tuple[str, ...] = Field(min_length=1, description="Column of the company's answer, or a list.")
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
    clean: bool = Field(
        True,
        description="Question and answer are mail or HTML: tags, quoted mails, signatures and footers are cut and "
        "counted, line ends and broken characters mended. `false`: the text stays as it stands.",
    )

    @property
    def prompts(self) -> tuple[str, ...]:
        """The columns of the question."""
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt

    @property
    def responses(self) -> tuple[str, ...]:
        """The columns of the answer."""
        return (self.response,) if isinstance(self.response, str) else self.response

    @property
    def mapped(self) -> tuple[str, ...]:
        """Every column that is read, once."""
        single = (self.source_id, self.label, self.created_at, self.status)
        several = (*self.prompts, *self.responses, *self.names, *self.emails, *self.phones)
        return tuple(dict.fromkeys(name for name in (*several, *single) if name))


class TableSource(Settings):
    """How to read the tables whose file name matches; Zendesk and Freshdesk exports need no entry."""

    match: str = Field(description="Glob on a file's name or on its path below the input, such as `*.csv`.")
    columns: Columns = Field(description="Columns that hold the fields of a record.")


class Markdown(Settings):
    """A page becomes one document per section. One with question and answer sections becomes one question/answer
    pair of them (title and questions -> answers); its other sections stay documents. Headings compare without case."""

    questions: tuple[str, ...] = Field((), description="Headings of the sections that hold a question.")
    answers: tuple[str, ...] = Field((), description="Headings of the sections that hold an answer.")


class Read(Settings):
    """How files become rows."""

    tables: tuple[TableSource, ...] = Field((), description="Rules for tables; the first that matches a file counts.")
    markdown: Markdown = Markdown()
