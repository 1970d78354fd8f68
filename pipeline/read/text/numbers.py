"""Numbers of tickets and people as tools rewrite them.

Output contract: `number` undoes what a column of floats does to whole numbers.
"""

from __future__ import annotations

import re

FLOAT = re.compile(r"(\d+)\.?(\d+)?(?:[eE]\+?(\d{1,2}))?")


def number(text: str) -> str:
    """Returns a ticket's number; one that a tool has made a float keeps its digits: `20000010.0` is `20000010`."""
    text = text.strip()
    if text.isdigit() or not (match := FLOAT.fullmatch(text)):
        return text
    whole, rest, power = match[1], match[2] or "", int(match[3] or 0)
    digits = whole + (rest if power else rest.rstrip("0"))
    missing = len(whole) + power - len(digits)
    return digits if missing == 0 else text  # else no whole number, or digits are lost: `1.23457E+14`
