"""The section `curate.read`: what the columns of a table mean, and how a page becomes rows."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config.values import Encoding, Settings

CUSTOMER = (
    "customer", "user", "end-user", "end_user", "requester", "contact", "client", "visitor", "lead",
    "incoming", "inbound",
)  # fmt: skip
AGENT = ("agent", "admin", "staff", "operator", "support", "teammate", "outgoing", "outbound")


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


class Messages(Settings):
    """Where an export keeps its conversations, one message after the other. A path such as `author.role` goes into
    objects. `public` or `internal` must be there: an internal note never becomes part of a row, and what neither field
    calls public is left out.
    """

    path: str | None = Field(
        None,
        description="Path of the list of messages in a JSON object, or the column whose cells hold it as JSON; null: "
        "every row of the file is a message, and rows of one `source_id` are a conversation.",
    )
    body: str = Field(description="Path of the text in a message; HTML is converted.")
    author: str = Field(description="Path, in a message, of what tells who wrote it: a role, a direction, a number.")
    customer: tuple[str, ...] = Field(CUSTOMER, description="Values of `author` that are a customer's, in any case.")
    agent: tuple[str, ...] = Field(
        AGENT, description="Values of `author` that are an agent's; a message with any other (a bot) is left out."
    )
    requester: str | None = Field(
        None,
        description="Path of the customer's number or name beside the messages: instead of `customer` and `agent`, "
        "an author who is the same is the customer, and everybody else an agent.",
    )
    public: str | Literal[True] | None = Field(
        None, description="Path, in a message, of what is true where the customer can see it; `true`: all are public."
    )
    internal: str | None = Field(None, description="Path, in a message, of what is true where it is an internal note.")
    time: str | None = Field(None, description="Path of a message's time; null: messages are in order.")
    subject: str | None = Field(None, description="Path of the subject, which is put before the first question.")
    source_id: str | None = Field(None, description="Path of the ticket's number.")
    label: str | None = Field(None, description="Path of the topic; splits are stratified by it.")
    created_at: str | None = Field(None, description="Path of the date or time, in UTC where it has no zone.")
    status: str | None = Field(None, description="Path of the status, as in `columns`.")
    names: tuple[str, ...] = Field(
        (), description="Paths, beside the messages or in each, of people's names, scrubbed wherever they recur."
    )
    emails: tuple[str, ...] = Field((), description="Paths of e-mail addresses, scrubbed likewise.")
    phones: tuple[str, ...] = Field((), description="Paths of telephone numbers, scrubbed likewise.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.public is None) == (self.internal is None):
            raise ValueError(
                "name the field that tells public messages from internal ones: either `public` or `internal` "
                "(`public: true` if every message is public)"
            )
        if self.path is None and self.source_id is None:
            raise ValueError(
                "give `path` (the list of messages in a row) or `source_id` (rows of one are a conversation)"
            )
        return self


class TableSource(Settings):
    """How to read the tables whose file name matches: by `columns` or, where a row is a conversation or part of one, by
    `messages`. The help desks' exports in docs/conversations.md need no entry."""

    match: str = Field(
        description="Glob on a file's name or on its path below the input, such as `*.csv` or `export.zip/*`."
    )
    columns: Columns | None = Field(None, description="Columns that hold the fields of a record.")
    messages: Messages | None = Field(None, description="Where the messages of conversations are.")
    part: str | None = Field(
        None,
        description="Name of a workbook's sheet, or path of the list in a JSON document, such as `data.tickets`; null: "
        "those that have the columns.",
    )
    encoding: Encoding | None = Field(None, description="As `curate.read.encoding`, for these files.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.columns is None) == (self.messages is None):
            raise ValueError("say how to read it: either `columns` or `messages`")
        return self


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
    conversations: Literal["first", "turns"] = Field(
        "first",
        description="What a conversation becomes. `first`: the customer's first words and the first public answer; "
        "`turns`: all of it, a row whose every answer is learnt.",
    )
    unmarked: Literal["refuse", "public"] = Field(
        "refuse",
        description="Messages of which an export does not say whether the customer saw them, such as comments in "
        "the CSV of a Jira service project. `refuse`: left out; `public`: there are no internal notes among them.",
    )
    mail: Mail = Mail()
    markdown: Markdown = Markdown()
