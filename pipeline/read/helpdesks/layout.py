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
from pipeline.read.helpdesks.translations import RESOLVED, TERMS

DESK = (  # how names of columns begin that hold the help desk's people
    "assignee",
    "agent",
    "responder",
    "bearbeiter",
    "mitarbeiter",
    "zugewiesen",
    "zuständig",
    "assigné",
    "asignado",
    "assegnatario",
    "toegewezen",
    "atribuído",
    "przypisany",
)  # fmt: skip
MORE = frozenset({"id", "label", "status", "created", "names", "emails", "phones"})
ENOUGH = 3  # of them
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

    def names_of(self, role: str) -> tuple[str, ...]:
        """Returns the names of a role, those of other languages last."""
        several = {"names": self.names, "emails": self.emails, "phones": self.phones}
        return (*several.get(role, self.roles.get(role, ())), *TERMS[role])

    def fits(self, header: Sequence[str]) -> bool:
        """Tells whether a table is one of tickets, whoever wrote it: it has a question, an answer and three more."""
        folded = {simple(name) for name in header}
        found = {role for role in TERMS if not folded.isdisjoint(self.names_of(role))}
        return "answer" in found and bool(found & {"subject", "description"}) and len(found & MORE) >= ENOUGH

    def locate(self, header: Sequence[str], path: str) -> Columns:
        """Returns where the columns are; raises `InputError` when question or answer is missing or there twice."""
        folded = [simple(name) for name in header]

        def find(role: str) -> int | None:
            for name in self.names_of(role):
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
                f"{known}, and those of other languages). {self.product}'s plain CSV export holds no conversations: "
                "add the column to the export, or name the columns in curate.read.tables"
            )
        names, emails, phones = (
            tuple(i for i, name in enumerate(folded) if name in self.names_of(role))
            for role in ("names", "emails", "phones")
        )
        desk = tuple(i for i in (*names, *emails) if folded[i].startswith(DESK))
        return Columns(at, names, emails, phones, desk)
