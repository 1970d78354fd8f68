"""How a help desk names its columns, and where they are in a table.

Output contract: `Layout.score` and `Layout.locate` find a product and its columns in a header, whatever their case,
punctuation and language.
This module makes no rows, and does not know any product: `zendesk` and `freshdesk` say what their columns are called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError

RESOLVED = frozenset({"solved", "closed", "resolved", "gelöst", "geschlossen", "erledigt"})
DESK = ("assignee", "agent", "responder")  # how names of columns begin that hold the help desk's people
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
    desk: tuple[int, ...]  # of names and emails those of the help desk's people

    def used(self) -> frozenset[int]:
        """Returns the positions of all columns that are read."""
        single = (position for position in self.at.values() if position is not None)
        return frozenset((*single, *self.names, *self.emails, *self.phones))


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
        names, emails, phones = (
            tuple(i for i, name in enumerate(folded) if name in known)
            for known in (self.names, self.emails, self.phones)
        )
        desk = tuple(i for i in (*names, *emails) if folded[i].startswith(DESK))
        return Columns(at, names, emails, phones, desk)
