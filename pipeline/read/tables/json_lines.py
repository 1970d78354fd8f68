"""JSON lines: an object per line.

Output contract: `names` gives the keys of the first objects; `objects` yields every line that is not blank with its
number, None for one that is no JSON object. Memory: one line and one block of text.
This module does not know what keys mean.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from pipeline.read.inputs.open_inputs import UNDEFINED, Span, whole_lines

SAMPLE = 1_000  # lines whose keys count as the file's columns

Object = tuple[int, Mapping[str, Any] | None]


def _objects(lines: Iterable[str], first: int) -> Iterator[Object]:
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield number, value if isinstance(value, dict) and "\0" not in line and UNDEFINED not in line else None


def _lines(uri: str, encoding: str, span: Span) -> Iterator[str]:
    for block in whole_lines(uri, encoding, span, newline="\n"):
        yield from io.StringIO(block, newline="\n")


def names(uri: str, encoding: str, size: int) -> list[str] | None:
    """Returns the keys of the first objects; None when there is not one line with text."""
    sample = list(islice(objects(uri, encoding, Span(0, size, 1)), SAMPLE))
    return list(dict.fromkeys(key for _, value in sample if value for key in value)) if sample else None


def objects(uri: str, encoding: str, span: Span) -> Iterator[Object]:
    """Yields (line, object) of a range of lines, None for a line that is no object."""
    return _objects(_lines(uri, encoding, span), span.line)
