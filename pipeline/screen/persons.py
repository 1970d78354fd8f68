"""Which of a model's PERSON marks stand: conditions that every written name fulfils, in words an officer can check.

Output contract: `Conditions(folder).hold(text, start, end)` tells whether characters start to end of a text can be a
person's name. They can not
1. where they are markup: a digit or one of `@/<>_=[]{}|\\#&;` is in them, or they are a piece of a link, a path or an
   identifier, whose characters touch them;
2. where all of their words begin with a small letter and none is a name of the list that is no everyday word as well;
3. where all of their words are ordinary words (`Loans`, `Kontonummern`, a compound of two of them as well) and none is
   a name of the list.
Both lists come with the model: `names.txt`, less the names held out, and `ordinary.txt`. A name that is in neither
list stands. The conditions only take marks away; this module finds no name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from pipeline.screen.names import EVERYDAY, PARTICLES, WORD, fold, forms

NAMES, ORDINARY = "names.txt", "ordinary.txt"
MARKUP = re.compile(r"[@/<>_=\[\]{}|\\#&;0-9]")
TOUCHING_BEFORE, TOUCHING_AFTER = frozenset("/@_-.&#=<\\"), frozenset("@/_=;")
ENDINGS = ("", "s", "e", "en", "n", "er", "es")  # of plurals, cases and verbs in both languages
PART = 4  # letters of a part of a compound, at least


class Conditions:
    """The conditions with the lists of one model's folder."""

    def __init__(self, folder: Path) -> None:
        self._names = names(folder / NAMES)
        self._ordinary = frozenset((folder / ORDINARY).read_text(encoding="utf-8").split())
        self._is_ordinary = lru_cache(maxsize=100_000)(self._ordinary_word)

    @staticmethod
    def are_in(folder: str) -> bool:
        """Whether a model's folder brings the lists."""
        return all((Path(folder) / name).is_file() for name in (NAMES, ORDINARY))

    def hold(self, text: str, start: int, end: int) -> bool:
        """Whether the characters from `start` to before `end` can be a person's name."""
        before, after = text[start - 1 : start] if start else "", text[end : end + 1]
        if MARKUP.search(text, start, end) or before in TOUCHING_BEFORE or after in TOUCHING_AFTER:
            return False
        words = [word for part in WORD.findall(text[start:end]) for word in part.split("-")]
        known = [word for word in words if self._known(word)]
        if all(word[0].islower() for word in words):
            return any(fold(word) not in EVERYDAY for word in known)
        own = [word for word in words if fold(word) not in PARTICLES]
        return bool(known) or not all(map(self._is_ordinary, own))

    def _known(self, word: str) -> bool:
        return not self._names.isdisjoint(forms(word))

    def _ordinary_word(self, word: str) -> bool:
        folded = fold(word)
        if self._listed(folded):
            return True
        cuts = range(PART, len(folded) - PART + 1)
        return any(folded[:at].removesuffix("s") in self._ordinary and self._listed(folded[at:]) for at in cuts)

    def _listed(self, folded: str) -> bool:
        return any(folded.removesuffix(ending) in self._ordinary for ending in ENDINGS)


def read_lists(file: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Returns list name -> (names, held-out names) of a file of "list: a b c | d e" lines, `_` read as a space."""
    lists: dict[str, tuple[list[str], list[str]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            key, _, values = line.partition(": ")
            kept, _, held = values.partition(" | ")
            lists[key] = ([v.replace("_", " ") for v in kept.split()], [v.replace("_", " ") for v in held.split()])
    return lists


def names(file: Path) -> frozenset[str]:
    """Returns the folded words of the names in a file of lists, less those held out."""
    kept = " ".join(name for names, _ in read_lists(file).values() for name in names)
    return frozenset(fold(word) for word in re.split(r"[\s-]+", kept)) - PARTICLES
