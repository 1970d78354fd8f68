"""One message as its author wrote it, and what was removed from it, by kind: the one place that counts.

Output contract: `clean` gives a text and `removed`, with
`len(raw) == len(text) + sum(removed.values())` for every input.
A count below zero says that a step made the text longer. A kind with the count 0 is there where a step changed the text
and not its length. No cut empties a text, or leaves nothing of it but a greeting.
This module does not look for personal data, and cuts nothing itself: the modules beside it do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.read.text.markup import plain
from pipeline.read.text.quotes import FOOTERS, QUOTES, SIGNATURE, Cut
from pipeline.read.text.quotes import _cut as cut

Side = Literal["customer", "agent"]
KINDS = ("quote", "signature", "footer", "markup", "escape", "encoding", "whitespace", "repeated")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A cleaned text; `removed`: characters by kind of `KINDS`, only the kinds that occurred."""

    text: str
    removed: Mapping[str, int] = field(default_factory=dict)


def clean(
    raw: str, side: Side, earlier: Sequence[str] = (), desk: Sequence[str] = (), customers: Sequence[str] = ()
) -> Cleaned:
    """Returns what the author of one message wrote in it.

    `raw`: the message as the export has it, HTML or plain text. `side`: who wrote it; a customer's signature goes, an
    agent's stays. `earlier`: the ticket's texts from before this message, raw, subject included: what repeats one of
    them below a header block or behind `>` is a quote. Never pass later texts, or two messages could each lose what the
    other keeps. `desk`, `customers`: names and addresses known to belong to either side; they tell an answer that is
    quoted from a mail that is passed on.
    """
    removed: dict[str, int] = {}
    text = raw

    def step(kind: str, change: Callable[[str], str]) -> None:
        nonlocal text
        before, text = text, change(text)
        if text != before:
            removed[kind] = removed.get(kind, 0) + len(before) - len(text)

    step("markup", plain)
    cuts: list[tuple[str, Cut]] = [("quote", QUOTES), ("footer", FOOTERS)]
    if side == "customer":
        cuts.insert(1, ("signature", SIGNATURE))
    for kind, one in cuts:
        step(kind, lambda before, one=one: cut(before, [one]))  # type: ignore[misc]
    return Cleaned(text, removed)
