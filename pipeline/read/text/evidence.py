"""What a ticket knows that tells a quoted mail from one that a message is about.

Output contract: `Ticket.holds` tells whether an earlier text of the ticket holds some lines; `Ticket.is_quoted` whether
the mail under some headers is quoted. Both answer no where nothing speaks for it.
This module cuts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.read.text.headers import PASSED_ON, Headers, is_desk, is_one_of
from pipeline.read.text.markup import plain

RUN = 4  # words in a row that are compared
FEWEST = 5  # words of a text that can be told again
COMPARED = 80  # words from its beginning
ALIKE = 0.6  # share of its runs of words


@dataclass(frozen=True)
class Ticket:
    """What is known around a message: its side, the ticket's earlier texts, and people of either side."""

    agent: bool = False
    earlier: tuple[str, ...] = ()
    desk: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()

    @cached_property
    def _runs(self) -> frozenset[tuple[str, ...]]:
        texts = (_words(plain(text)) for text in self.earlier)
        return frozenset(tuple(words[at : at + RUN]) for words in texts for at in range(len(words) - RUN + 1))

    @cached_property
    def is_passed_on(self) -> bool:
        """The subject says that a mail is passed on."""
        return any(PASSED_ON.match(text) for text in self.earlier)

    def holds(self, lines: Sequence[str]) -> bool:
        """Tells whether an earlier text of the ticket holds these lines."""
        if not self.earlier:
            return False
        words = _words("\n".join(lines)[: 20 * COMPARED])[:COMPARED]
        runs = [tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1)]
        return len(words) >= FEWEST and sum(run in self._runs for run in runs) >= ALIKE * len(runs)

    def is_quoted(self, headers: Headers, separated: bool, under: Sequence[str]) -> bool:
        """Tells whether the mail under some headers is quoted, by who wrote it; `separated`: a line above them says
        that a mail follows to which this one answers."""
        if self.holds(under):
            return True
        if headers.is_passed_on or (self.is_passed_on and not self.agent):
            return False
        from_desk = is_desk(headers.sender, self.desk, self.customers)
        if self.agent:
            known = headers.is_mail and is_one_of(headers.sender, self.customers)
            return separated or known or (headers.is_complete and from_desk)
        to_desk = is_desk(headers.recipient, self.desk, self.customers)
        return not to_desk and (separated or (from_desk and headers.is_mail))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
