"""JSON documents: an array of objects, an object that holds a list of them, or objects one after the other.

Output contract: `survey` reads a document once and tells which lists of objects are in it; `objects` yields what is in
one of them, or the document's own objects, each with its position (1-based), None for an element that is no object.
A document that breaks off or is not JSON raises `InputError` with the place. Memory: one element and one block of text.
json's own decoder does the work, element by element, no slower than ijson's C backend, which refuses a whole document
for one NaN.
This module does not know what keys mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from pipeline.errors import InputError
from pipeline.read.inputs.open_inputs import MAX_LINE, TEXT, UNDEFINED, open_text
from pipeline.wording import counted

SAMPLE = 1_000  # objects whose keys count as the columns of a list
HEAD = 1 << 18  # characters in which lines of objects show
DEEPEST = 3  # objects around a list
SPACE = re.compile(r"[ \t\r\n\ufeff]*")
BAD = ("\0", UNDEFINED)
DECODER = json.JSONDecoder()

Element = tuple[int, Mapping[str, Any] | None]


@dataclass
class Listed:
    """A list of objects in a document, or the objects that are the document. `names`: the keys of the first ones."""

    count: int = 0
    names: dict[str, None] = field(default_factory=dict)

    def add(self, value: Mapping[str, Any] | None) -> None:
        self.count += 1
        if value is not None and self.count <= SAMPLE:
            self.names |= dict.fromkeys(value)


class _DamagedError(Exception):
    """Text that is no JSON, where the reader stands; `ends`: what is there may have gone on."""

    def __init__(self, ends: bool = False) -> None:
        super().__init__()
        self.ends = ends


class _Reader:
    """A text, taken one JSON value or one mark at a time."""

    def __init__(self, text: TextIO) -> None:
        self._text, self._buffer, self._at, self._before = text, "", 0, 0
        self._spoilt = False  # a bad character is in the buffer

    def _more(self) -> bool:
        rest = self._buffer[self._at :]
        if len(rest) > MAX_LINE:
            raise _DamagedError
        block = self._text.read(max(TEXT, len(rest)))
        if not block:
            return False
        self._before += self._at
        self._buffer, self._at = rest + block, 0
        self._spoilt = any(bad in self._buffer for bad in BAD)
        return True

    def place(self) -> int:
        """Returns the number of the next character (1-based)."""
        return self._before + self._at + 1

    def peek(self) -> str:
        """Returns the next character that is not white space, "" at the end."""
        while True:
            match = SPACE.match(self._buffer, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def take(self, mark: str) -> bool:
        """Goes over the next character if it is this one."""
        found = self.peek() == mark
        self._at += found
        return found

    def expect(self, mark: str) -> None:
        if not self.take(mark):
            raise _DamagedError

    def value(self) -> Any:
        """Returns the next value; a bad character in it makes it None."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._at)
            except RecursionError as error:
                raise _DamagedError from error
            except json.JSONDecodeError as error:
                if not self._more():
                    ends = error.pos >= len(self._buffer.rstrip()) or error.msg.startswith("Unterminated")
                    raise _DamagedError(ends) from error
                continue
            except ValueError as error:  # a number of more digits than Python reads
                raise _DamagedError from error
            if end == len(self._buffer) and self._more():  # a number may go on
                continue
            start, self._at = self._at, end
            return None if self._spoilt and any(bad in self._buffer[start:end] for bad in BAD) else value


def _elements(reader: _Reader) -> Iterator[Element]:
    """Yields the elements of an array."""
    reader.expect("[")
    number = 0
    while not reader.take("]"):
        if number:
            reader.expect(",")
        number += 1
        value = reader.value()
        yield number, value if isinstance(value, dict) else None


def _walk(reader: _Reader, path: str, depth: int) -> Iterator[tuple[str, str, Element | None]]:
    """Yields (path of the object, key, None) for each key of an object, and (path of a list, "", element) for what is
    in the lists below it."""
    reader.expect("{")
    first = True
    while not reader.take("}"):
        if not first:
            reader.expect(",")
        first = False
        key = reader.value()
        if not isinstance(key, str):
            raise _DamagedError
        reader.expect(":")
        yield path, key, None
        below = f"{path}.{key}" if path else key
        if reader.peek() == "[":
            for element in _elements(reader):
                yield below, "", element
        elif reader.peek() == "{" and depth < DEEPEST:
            yield from _walk(reader, below, depth + 1)
        else:
            reader.value()


def _broken(uri: str, reader: _Reader, damage: _DamagedError, count: int) -> InputError:
    ends = damage.ends or reader.peek() == ""
    what = "breaks off" if ends else f"is no JSON from character {reader.place():,} on"
    after = f", after {counted(count, 'object')}" if count else ""
    return InputError(f"{uri} {what}{after}: export it again, or mend it")


def survey(uri: str, encoding: str) -> dict[str, Listed]:
    """Returns the lists of objects of a document by their path (`data.tickets`), and under "" the document's own
    objects: the elements of its array, or itself. Reads all of it; raises `InputError` for one that is not whole."""
    found: dict[str, Listed] = {"": Listed()}
    with open_text(uri, encoding) as text:
        reader = _Reader(text)
        try:
            while mark := reader.peek():
                if mark == "[":
                    for _, value in _elements(reader):
                        found[""].add(value)
                elif mark == "{":
                    found[""].count += 1
                    for path, key, element in _walk(reader, "", 1):
                        if element is not None:
                            found.setdefault(path, Listed()).add(element[1])
                        elif path == "" and found[""].count <= SAMPLE:
                            found[""].names[key] = None
                else:
                    raise _DamagedError
        except _DamagedError as error:
            raise _broken(uri, reader, error, max(listed.count for listed in found.values())) from error
    return {path: listed for path, listed in found.items() if listed.names or path == ""}


def objects(uri: str, encoding: str, part: str) -> Iterator[Element]:
    """Yields the objects of the list at the path `part`, or ("") the document's own."""
    count = 0
    with open_text(uri, encoding) as text:
        reader = _Reader(text)
        try:
            while mark := reader.peek():
                elements: Iterator[Element]
                if part:
                    elements = (element for path, _, element in _walk(reader, "", 1) if element and path == part)
                elif mark == "[":
                    elements = _elements(reader)
                else:
                    value = reader.value()
                    elements = iter([(1, value if isinstance(value, dict) else None)])
                for _, value in elements:
                    count += 1
                    yield count, value
        except _DamagedError as error:
            raise _broken(uri, reader, error, count) from error


def is_document(head: str, lines: bool) -> bool:
    """Tells whether a text is one document and not a JSON object per line; `lines`: its name says that it is lines.

    `head`: its first `HEAD` characters.
    """
    filled = [line for line in head.lstrip("\ufeff").split("\n") if line.strip()][:3]
    if len(filled) < 2:
        return bool(filled) and (not lines or filled[0].lstrip()[:1] in "[{")
    if any(_whole_object(line) for line in filled[:2]) or _whole(filled[0]):
        return False
    return not lines or filled[0].lstrip()[:1] in ("[", "{")


def _whole(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _whole_object(line: str) -> bool:
    return line.startswith("{") and _whole(line)
