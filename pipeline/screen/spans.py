"""Findings of personal data in one text, and their replacement by typed placeholders.

Output contract: `merge` returns findings that do not overlap, in reading order; `replace` returns the text with each of
them replaced by `<TYPE>`. Overlapping findings become one that covers them all, so nothing that any recogniser found
is left standing; it is named after the one with the highest score, then the longest, the earliest, the first by type.
This module does not search.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Finding(NamedTuple):
    """One piece of personal data: `text[start:end]`."""

    start: int
    end: int
    type: str
    score: float


def _rank(finding: Finding) -> tuple[float, int, int, str]:
    return (-finding.score, finding.start - finding.end, finding.start, finding.type)


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Returns the findings without overlaps, in reading order; the order of the input does not matter."""
    merged: list[Finding] = []
    names: list[Finding] = []  # the finding that names each merged one
    for finding in sorted(findings):
        if merged and finding.start < merged[-1].end:
            names[-1] = min(names[-1], finding, key=_rank)
            end = max(merged[-1].end, finding.end)
            merged[-1] = Finding(merged[-1].start, end, names[-1].type, names[-1].score)
        else:
            merged.append(finding)
            names.append(finding)
    return merged


def replace(text: str, findings: Sequence[Finding]) -> str:
    """Replaces findings, as `merge` returns them, by `<TYPE>`."""
    pieces, position = [], 0
    for finding in findings:
        pieces += [text[position : finding.start], f"<{finding.type}>"]
        position = finding.end
    return "".join(pieces) + text[position:]
