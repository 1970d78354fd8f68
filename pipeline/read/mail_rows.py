"""Mails into rows: a thread is a question and its answer.

Output contract: `rows` yields one `Row` per thread, with path and number of the customer's mail. A mail that nobody
answered has no response, one that answers nothing here no prompt: both become rejects that say so. Files of one source
are read together, twice: once for the threads, once for their texts. Memory: an envelope per mail, and the texts of
the threads that are open.
This module opens no archives and knows no help desk.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.config import Mail
from pipeline.read.inputs.input_file import InputFile
from pipeline.read.inputs.open_inputs import open_bytes
from pipeline.read.mail.messages import Content, Envelope, content, lines_of, split
from pipeline.read.mail.threads import exchanges
from pipeline.read.rows import Row, people
from pipeline.read.text import clean, joined, summed, to_text


def _messages(file: InputFile) -> Iterator[tuple[InputFile, int, bytes]]:
    """Yields (file, number in it, bytes) of each mail."""
    for part in file.partners or (file,):
        with open_bytes(part.uri, end=part.size) as stream:
            lines = lines_of(stream)
            for number, raw in enumerate(split(lines, mbox=".mbox" in part.path.lower()), 1):
                yield part, number, raw


def rows(file: InputFile, settings: Mail) -> Iterator[Row]:
    """Yields a row per thread of a file and its partners."""
    mails, places = [], []
    for part, number, raw in _messages(file):
        mails.append(Envelope.of(raw))
        places.append((part.path, number))
    threads = exchanges(mails, settings.company)
    wanted = {at: thread for thread in threads for at in (thread.question, thread.answer) if at is not None}
    texts: dict[int, Content] = {}
    for at, (_, _, raw) in enumerate(_messages(file)):
        thread = wanted.get(at)
        if thread is None:
            continue
        texts[at] = content(raw)
        needed = [index for index in (thread.question, thread.answer) if index is not None]
        if all(index in texts for index in needed):
            asked = texts.pop(thread.question) if thread.question is not None else None
            answered = texts.pop(thread.answer) if thread.answer is not None else None
            path, number = places[needed[0]]
            both = [mail for mail in (asked, answered) if mail is not None]
            before = (asked.subject, asked.text) if asked else ()
            prompt = joined(*((to_text(asked.subject), clean(asked.text, "customer", before[:1])) if asked else ()))
            response = joined(*((clean(answered.text, "agent", before),) if answered else ()))
            yield Row(
                number,
                prompt.text,
                response.text,
                source_id=mails[needed[0]].id.strip("<>"),
                created_at=mails[needed[0]].time,
                entities=people(
                    tuple(name for mail in both for name in mail.names),
                    tuple(address for mail in both for address in mail.addresses),
                    (),
                ),
                characters=sum(map(len, before)) + (len(answered.text) if answered else 0) + prompt.added,
                removed=summed(prompt, response),
                path=path,
            )
