"""Which encoding a text is in.

Output contract: `Detector` is fed a text block by block and names one encoding that Python knows: by a byte order mark;
UTF-16 without one by its NUL bytes; UTF-8 where it explains more of the bytes above 127 than it leaves; else the
single-byte encoding whose letters are those of one language, in places where that language has letters.
This module does not read files. charset-normalizer takes German in cp1252 for cp1250 and Polish in cp1250 for cp1252.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np

from pipeline.read.inputs.open_inputs import UNDEFINED

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WESTERN = ("cp1252", "iso8859-15", "mac_roman", "cp850")
CENTRAL = ("cp1250", "iso8859-2")
CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ"
GREEK = "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋ"
ALPHABETS = {  # the letters beyond a to z of a language, and the encodings that it is written in
    "äöüßé": WESTERN,
    "éèêëàâçôûùîïœæ": WESTERN,
    "áéíóúñü": WESTERN,
    "àèéìíòóù": WESTERN,
    "ãõáéíóúâêôàç": WESTERN,
    "æøåéäö": WESTERN,
    "éëïöóüèáä": WESTERN,
    "ąćęłńóśźż": CENTRAL,
    "áčďéěíňóřšťúůýžĺľŕôä": CENTRAL,
    "áéíóöőúüű": CENTRAL,
    "čćđšž": CENTRAL,
    "ăâîşţ": CENTRAL,
    "çğıöşüâî": ("cp1254",),
    CYRILLIC: ("cp1251", "koi8-r", "koi8-u"),
    GREEK: ("cp1253",),
}
SINGLE_BYTE = tuple(dict.fromkeys(name for names in ALPHABETS.values() for name in names))
USUAL = frozenset("€„“”‚‘’«»–—…§°·•®™©²³½µ¿¡£\u00a0")  # marks that stand in texts of any of these languages
WORD = re.compile(rb"[A-Za-z]{0,20}[\x80-\xff][A-Za-z\x80-\xff]{0,30}")
WORDS = 5_000  # different ones that are looked at
TWINS = ("cp1252", "iso8859-15")  # by far the most frequent
MARGIN = 2.5  # of theirs: what two letters are worth that fit elsewhere and not here
PLAIN = 1 << 16  # bytes in which UTF-16 without a mark shows


class Detector:
    """Decides block by block. One damaged character must not turn every umlaut of a UTF-8 file into two wrong ones, so
    the better explanation wins; the rows it does not explain are refused one by one. A character cut off at the end of
    the file does not vote."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("undefined")
        self._good = self._bad = 0
        self._known = ""
        self._first = True
        self._words: Counter[bytes] = Counter()

    def add(self, block: bytes) -> None:
        if self._first:
            self._first = False
            self._known = marked(block) or _without_mark(block[:PLAIN])
        if self._known or (block.isascii() and not self._decoder.getstate()[0]):
            return
        text = self._decoder.decode(block)
        bad = text.count(UNDEFINED)
        self._bad += bad
        self._good += len(text) - bad - int(np.count_nonzero(np.frombuffer(block, np.uint8) < 0x80))
        if self._bad and len(self._words) < WORDS:
            self._words.update(WORD.findall(block))

    def encoding(self) -> str:
        if self._known or self._good >= self._bad:
            return self._known or "utf-8"
        return single_byte(self._words)


def marked(head: bytes) -> str:
    """Returns the encoding that a byte order mark names, "" without one."""
    return next((name for mark, name in MARKS if head.startswith(mark)), "")


def _without_mark(head: bytes) -> str:
    """Returns the UTF-16 that a text without a mark is in: most of its characters have a NUL on the same side."""
    values = np.frombuffer(head[: len(head) // 2 * 2], np.uint8).reshape(-1, 2)
    if len(values) < 4:
        return ""
    even, odd = np.mean(values == 0, axis=0)
    return "utf-16-le" if odd > 0.4 and even < 0.05 else "utf-16-be" if even > 0.4 and odd < 0.05 else ""


def single_byte(words: Counter[bytes]) -> str:
    """Returns the encoding that explains the words with bytes above 127 best; cp1252 or its twin with the euro sign,
    unless another is better by more than a word or two; of equal ones the first."""
    scores = {encoding: max(_scores(encoding, words)) for encoding in SINGLE_BYTE}
    for encoding in TWINS:
        scores[encoding] += MARGIN
    return max(scores, key=lambda encoding: scores[encoding])


def _scores(encoding: str, words: Counter[bytes]) -> Iterator[float]:
    """Yields how well the words fit each language that is written in an encoding."""
    decoded = [(word.decode(encoding, "undefined"), count) for word, count in words.items()]
    for alphabet, encodings in ALPHABETS.items():
        if encoding in encodings:
            yield sum(count * _score(word, alphabet) for word, count in decoded)


@cache
def _letters(alphabet: str) -> frozenset[str]:
    return frozenset(alphabet + alphabet.upper())


def _score(word: str, alphabet: str) -> float:
    """Returns how well a word fits a language: its letters in places for letters, marks in places for marks."""
    letters, score = _letters(alphabet), 0.0
    for at, letter in enumerate(word):
        if letter.isascii():
            continue
        before, after = word[at - 1 : at] if at else "", word[at + 1 : at + 2]
        if letter == UNDEFINED or (not letter.isprintable() and letter != "\u00a0"):
            score -= 3
        elif letter.isalpha():
            score += 1 if letter in letters else -1
            if (letter.isupper() and before.islower()) or (letter.islower() and after.isupper()):
                score -= 2
            if letter.isupper() and not (before + after).isalpha():
                score -= 1
            if alphabet in (CYRILLIC, GREEK) and (before + after).isascii() and (before + after).isalpha():
                score -= 2
        elif before.isalpha() and after.isalpha():
            score += 1 if letter == "’" else -1 if letter in "·\u00a0" else -2
        else:
            score += 0.8 if letter in USUAL else -1
    return score
