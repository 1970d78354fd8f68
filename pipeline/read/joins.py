"""Files whose records are parts of the same conversations, as one file to read.

Output contract: files of one folder with layouts of one join become one `InputFile` with `partners`, tickets first,
then by path; so does a file alone whose records are to be joined, and none of them is cut into pieces. Raises
`InputError` for tickets without their messages, and for messages that mean nothing without their tickets.
This module reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from pipeline.errors import InputError
from pipeline.read import layouts
from pipeline.read.inputs.input_file import InputFile, together

MESSAGES = {  # what holds the messages, by the word of the join
    "zendesk": "its comments (`ticket_id`, `author_id`, `public`, `body`) or the ticket events",
    "freshdesk": "its conversations (`ticket_id`, `incoming`, `private`, `body`)",
    "servicenow": "`sys_journal_field` (`element_id`, `element`, `value`)",
    "salesforce": "EmailMessage (`ParentId`, `Incoming`, `TextBody`) or CaseComment",
}


def conversations_together(files: Sequence[tuple[str, InputFile]]) -> list[InputFile]:
    """Returns the files with those that are joined as one; `files`: with their inputs."""
    others: list[InputFile] = []
    groups: dict[tuple[str, str, str], list[InputFile]] = {}
    for root, file in files:
        if file.blank or not (join := layouts.join_of(file)):
            others.append(file)
            continue
        folder = str(PurePosixPath(file.path).parent)
        own = file.uri + file.part if file.entry else ""  # a mapping says nothing of other files
        groups.setdefault((root, folder, join + own), []).append(file)
    return others + [_together(group) for group in groups.values()]


def _together(files: list[InputFile]) -> InputFile:
    found = [(layouts.conversation_layout(file.layout, file.entry), file) for file in files]
    tickets = [file for layout, file in found if not layout.messages]
    if len(tickets) == len(files):
        raise _silent(tickets[0], found[0][0].joined)
    for layout, file in found:
        if layout.needs_tickets and not tickets:
            raise InputError(
                f"{file.path} holds {layout.name}, which do not say who the customer is: put the tickets "
                "that they belong to into the same folder, or describe the file with `messages` in curate.read.tables"
            )
    return together(sorted(files, key=lambda file: (file not in tickets, file.path, file.part)))


def _silent(file: InputFile, joined: str) -> InputError:
    """Returns what is wrong with tickets without messages; a ticket table knows what a column of answers is called."""
    if joined in layouts.LAYOUTS:
        try:
            layouts.LAYOUTS[joined].locate(file.names, file.path)
        except InputError as error:
            return InputError(f"{error}. Or put {MESSAGES[joined]} into the same folder")
    return InputError(
        f"{file.path} holds {file.layout} without their messages: put {MESSAGES[joined]} into the same folder"
    )
