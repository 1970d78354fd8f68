"""Findings of personal data in one text, and their replacement.

Output contract: `merge` returns findings without overlaps, in reading order; `replace` returns the text with each of
them replaced by its name, `<TYPE>` by default. Overlapping findings become one that covers them all, so that nothing a
recogniser found stays; its type is that of the highest score, then of the longest, the earliest, the first by type.
This module does not search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple


class Finding(NamedTuple):
    """One piece of personal data: `text[start:end]`."""

    start: int
    end: int
    type: str
    score: float
    identity: str = ""  # of the person or thing, where the finder knows more than the written form


def _rank(finding: Finding) -> tuple[float, int, int, str]:
    return (-finding.score, finding.start - finding.end, finding.start, finding.type)


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Returns the findings without overlaps, in reading order; the order of the input does not matter."""
    merged: list[Finding] = []
    names: list[Finding] = []  # the finding that gives each merged one its type
    for finding in sorted(findings):
        if merged and finding.start < merged[-1].end:
            names[-1] = min(names[-1], finding, key=_rank)
            merged[-1] = names[-1]._replace(start=merged[-1].start, end=max(merged[-1].end, finding.end))
        else:
            merged.append(finding)
            names.append(finding)
    return merged


Name = Callable[[str, Finding], str]
"""(the text that a finding covers, the finding) -> its replacement."""


def placeholder(_: str, finding: Finding) -> str:
    """Returns `<TYPE>`."""
    return f"<{finding.type}>"


def replace(text: str, findings: Sequence[Finding], name: Name = placeholder) -> str:
    """Replaces findings, as `merge` returns them, by their names."""
    pieces, position = [], 0
    for finding in findings:
        pieces += [text[position : finding.start], name(text[finding.start : finding.end], finding)]
        position = finding.end
    return "".join(pieces) + text[position:]
