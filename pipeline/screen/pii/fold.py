"""Folding: a text as a recogniser should read it, and the way back to the text as it is written.

Typography, markup and encoding change how an address or a number is written, not what it says: no-break spaces in an
IBAN, full-width digits, `anna&#64;firma.de`, `anna%40firma.de`, `max\\_muster@firma.de`. Folding turns spaces of
any width into a space, dashes into a hyphen, digits of any script and full-width letters into ASCII, composes letters,
decodes HTML entities, percent and JSON escapes, takes Markdown's backslashes out, and leaves out what is invisible
(zero-width characters, soft hyphens, direction marks, variation selectors).

Output contract: `fold(text)` returns the folded text and, where folding changes its length, the start and end in `text`
of each of its characters. `FoldedTexts` does it for a batch and maps findings back; a finding covers in the text as
written all that its first to last character came from. A text that holds nothing of this is returned as it is, after a
few searches for single characters. Folding is for finding alone: no folded text is ever written.
This module does not tell look-alikes of other alphabets apart: a Cyrillic `а` stays one.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.screen.pii.spans import Finding

_RANGES = ((0x80, 0x3200), (0xA620, 0xAC00), (0xFB00, 0x10000), (0x1D400, 0x1D800), (0xE0000, 0xE01F0))
"""Where Unicode has what folding changes: looking at all of it takes a second and a half."""
_INVISIBLE = "\u034f\u115f\u1160\u20e3\u3164\uffa0"  # beside the format characters: joiners, fillers, the keycap
_AS = {"\u2044": "/", "\u2215": "/", "\u2212": "-", "\u2024": ".", "\u3002": ".", "\u017f": "s"}
_LIGATURES = {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st"}
_COMPATIBLE = ("<wide>", "<font>", "<small>", "<noBreak>", "<narrow>")  # decompositions that mean the same character


def _folded(char: str) -> str | None:
    """Returns what a character beyond ASCII is folded to, None where it stays."""
    category = unicodedata.category(char)
    if category == "Cf" or char in _INVISIBLE or unicodedata.name(char, "").startswith("VARIATION SELECTOR"):
        return ""
    if category == "Zs":
        return " "
    if category == "Pd" or char in _AS:
        return _AS.get(char, "-")
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if unicodedata.decomposition(char).startswith(_COMPATIBLE):
        plain = unicodedata.normalize("NFKC", char)
        return plain if plain.isascii() and len(plain) == 1 else None
    return _LIGATURES.get(char)


def _table() -> dict[str, str]:
    every = ((char, _folded(char)) for first, stop in _RANGES for char in map(chr, range(first, stop)))
    return {char: folded for char, folded in every if folded is not None}


TABLE = _table()
"""Character beyond ASCII -> folded, of all that folding changes by themselves."""
_SAME_LENGTH = str.maketrans({char: folded for char, folded in TABLE.items() if len(folded) == 1})
_COMBINING = "".join(map(chr, range(0x300, 0x370)))
_OTHER_LENGTH = frozenset(char for char, folded in TABLE.items() if len(folded) != 1) | frozenset(_COMBINING)
_CHANGED = frozenset(TABLE) | _OTHER_LENGTH
_LETTER_OR_DIGIT = "3[0-9]|4[1-9A-Fa-f]|5[0-9Aa]|6[1-9A-Fa-f]|7[0-9Aa]"
_SEQUENCES = re.compile(
    r"&(?:amp;)*(?:#[0-9]{1,7};?|#[xX][0-9a-fA-F]{1,6};?|[A-Za-z][A-Za-z0-9]{1,30};)"  # &#64; &#x40 &commat; &amp;#64;
    # %40, %2540; a decoded space or quotation mark would end a link, and is decoded between digits alone
    rf"|%(?:25)*(?:40|2[BbDdEe]|5[Ff]|{_LETTER_OR_DIGIT})|(?<=[0-9])%(?:25)*20(?=[0-9])"
    r"|\\u00(?:[2-6][0-9a-fA-F]|7[0-9a-eA-E])"  # \u0040 of JSON
    r"|\\[!-/:-@\[-`{-~]"  # \_ of Markdown
    rf"|[A-Za-z][{_COMBINING}]+"
    rf"|[{re.escape(''.join(sorted(_OTHER_LENGTH - frozenset(_COMBINING))))}]"
)


class Folded(NamedTuple):
    """A folded text."""

    text: str
    starts: Sequence[int] | None = None
    """For each of its characters, where what it came from starts in the text as written; None: where it stands."""
    ends: Sequence[int] | None = None

    def restored(self, finding: Finding) -> Finding:
        """Returns a finding in the folded text as one in the text as written."""
        if self.starts is None or self.ends is None:
            return finding
        return finding._replace(start=self.starts[finding.start], end=self.ends[finding.end - 1])


def fold(text: str) -> Folded:
    """Folds one text."""
    escaped = "&" in text or "%" in text or "\\" in text
    if not text.isascii() and not _CHANGED.isdisjoint(text):
        escaped = escaped or not _OTHER_LENGTH.isdisjoint(text)
        text = text.translate(_SAME_LENGTH)
    return _shortened(text) if escaped else Folded(text)


def _shortened(text: str) -> Folded:
    """Returns a text with the sequences replaced that stand for another number of characters."""
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for match in _SEQUENCES.finditer(text):
        start, end = match.span()
        plain = _plain(match.group())
        pieces += (text[position:start], plain)
        starts += (*range(position, start), *([start] * len(plain)))
        ends += (*range(position + 1, start + 1), *([end] * len(plain)))
        position = end
    if not pieces:
        return Folded(text)
    starts += range(position, len(text))
    ends += range(position + 1, len(text) + 1)
    return Folded("".join([*pieces, text[position:]]), starts, ends)


def _plain(sequence: str) -> str:
    """Returns the characters that an escape, an invisible character or a decomposed letter stands for."""
    if sequence[0] == "%":
        return chr(int(sequence[-2:], 16))
    if sequence[0] == "\\":
        return chr(int(sequence[2:], 16)) if sequence[1] == "u" else sequence[1]
    if sequence[0] == "&":
        return "".join(TABLE.get(char, char) for char in _unescaped(sequence))
    return TABLE[sequence] if sequence in TABLE else unicodedata.normalize("NFC", sequence)


def _unescaped(entity: str) -> str:
    """Returns the character of an HTML entity that was escaped once or more often; itself where it is none."""
    plain = html.unescape(entity)
    return plain if plain in (entity, "&") else _unescaped(plain)


class FoldedTexts:
    """A batch of texts, folded."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._folded = [fold(text) for text in texts]
        self.texts = [folded.text for folded in self._folded]

    def restored(self, findings: Mapping[int, Sequence[Finding]]) -> dict[int, list[Finding]]:
        """Returns findings in the folded texts, by position, as findings in the texts as written."""
        return {at: [self._folded[at].restored(finding) for finding in group] for at, group in findings.items()}
