"""A second reader, slow and written without the first: what `records` must give, character by character.

It follows the rules in the docstring of `pipeline.read.tables.csvfile`, holds the whole text, and uses neither the
`csv` module nor any of the reader's code.
"""

from __future__ import annotations

import json
import re
from typing import Any

PROOF = 8
Fields = list[str]


def physical_lines(text: str) -> list[str]:
    """Splits at LF, CR and CRLF, and nowhere else; ends are kept."""
    return [line for line in re.findall(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z", text) if line]


def _one(lines: list[str], at: int, delimiter: str) -> tuple[str, int, Fields]:
    """Parses one record from line index `at`: ("ok" | "error" | "open", index of its last line, fields)."""
    fields: Fields = []
    current = ""
    state = "start"  # of a field; or bare, quoted, closed
    for index in range(at, len(lines)):
        for mark in lines[index]:
            if state == "quoted":
                if mark == '"':
                    state = "closed"
                else:
                    current += mark
            elif mark in "\r\n":
                if state != "start" or fields:
                    fields.append(current)
                return "ok", index, fields
            elif mark == '"' and state == "start":
                state = "quoted"
            elif mark == '"' and state == "closed":
                current, state = current + mark, "quoted"
            elif mark == delimiter:
                fields.append(current)
                current, state = "", "start"
            elif state == "closed":
                return "error", index, []
            else:
                current, state = current + mark, "bare"
    if state == "quoted":
        return "open", len(lines) - 1, []
    if state != "start" or fields:
        fields.append(current)
    return "ok", len(lines) - 1, fields


def csv_records(text: str, delimiter: str, width: int) -> list[tuple[int, Fields | None]]:
    """Returns (line, fields or None) of every record."""
    lines = physical_lines(text)
    spoilt = ["\0" in line or "\udcff" in line for line in lines]
    found: list[tuple[int, Fields | None]] = []
    at = 0
    while at < len(lines):
        outcome, last, fields = _one(lines, at, delimiter)
        if outcome == "ok" and not fields:
            pass
        elif outcome == "ok" and len(fields) == width:
            found.append((at + 1, None if any(spoilt[at : last + 1]) else fields))
        else:
            quote = lines[last].find('"')
            opens = quote == 0 or (quote > 0 and lines[last][quote - 1] == delimiter)
            if outcome == "error" and last > at and opens:
                last -= 1
            found.append((at + 1, None))
            swallowed: list[tuple[int, Fields | None]] = []
            for index in range(at + 1, last + 1):
                if lines[index].strip("\r\n"):
                    said, _, own = _one([lines[index]], 0, delimiter)
                    good = said == "ok" and len(own) == width and not spoilt[index]
                    swallowed.append((index + 1, own if good else None))
            rows = sum(own is not None for _, own in swallowed)
            if width > 1 and rows * (width - 1) >= PROOF and 4 * rows >= 3 * len(swallowed):
                found += swallowed
        at = last + 1
    return found


def json_records(text: str) -> list[tuple[int, dict[str, Any] | None]]:
    """Returns (line, object or None) of every line of JSON lines that is not blank."""
    found: list[tuple[int, dict[str, Any] | None]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            bad = "\0" in line or "\udcff" in line or not isinstance(value, dict)
            found.append((number, None if bad else value))
    return found
