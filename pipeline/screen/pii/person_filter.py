"""A filter for a model's PERSON marks: conditions that every written name fulfils, in words an officer can check.

Output contract: `PersonFilter(folder).accepts(text, start, end)` tells whether characters start to end of a text can be
a person's name. They can not
1. where they hold no letter or are markup: a digit, a line break or one of `@/<>_=[]{}|\\#&;` is in them, or they are
   a piece of a link, a path or an identifier, whose characters touch them;
2. where all of their words begin with a small letter and none is a name of the list that is no everyday word as well;
   in a text without any capital, only if one of the words is ordinary or everyday;
3. where none of their words is a name of the list and all are ordinary words (`Loans`, `Kontonummern`, a compound of
   two of them as well; stop words of seven more languages as they are; `Team`, `Bot` and what else a sender is that is
   nobody);
4. where none of their words is a name of the list and they are a line of an address: the number of a flat before them
   (`Apt. 12`), a country behind them after a comma or on the next line, or a word for a street at their end.
After a title (`Herrn`, `Mrs.`) only the first holds. The lists come with the model: `names.txt`, less the names held
out, `ordinary.txt` and `places.txt`. A name that is in no list stands, unless it is where an address is. The conditions
only take marks away; this module finds no name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from pipeline.screen.pii.names import EVERYDAY, GENERIC, PARTICLES, WORD, fold, forms

NAMES, ORDINARY, PLACES = "names.txt", "ordinary.txt", "places.txt"
MARKUP = re.compile(r"[@/<>_=\[\]{}|\\#&;0-9\r\n]")
TOUCHING_BEFORE, TOUCHING_AFTER = frozenset("/@_-.&#=<\\"), frozenset("@/_=;")
ENDINGS = ("", "s", "e", "en", "n", "er", "es")  # of plurals, cases and verbs in both languages
PART = 4  # letters of a part of a compound, at least
TITLE = re.compile(r"\b(?:herrn?|frau|familie|mrs?|ms|miss|dr|prof)\b\.?\s$", re.IGNORECASE)
FLAT = re.compile(r"\b(?:apt|apartment|suite|unit|box|flat|floor|room|wohnung|top)\b\.?\s#?\d+[,\s>]*$", re.IGNORECASE)
NEXT = re.compile(r" ([^\W\d_]+)")
LOOKED_BACK = 40  # characters before a mark


class PersonFilter:
    """The conditions with the lists of one model's folder."""

    def __init__(self, folder: Path) -> None:
        self._names = names(folder / NAMES)
        listed = (folder / ORDINARY).read_text(encoding="utf-8").split()  # `=word`: it alone
        self._ordinary = GENERIC.union(listed)
        places = {title: values for title, (values, _) in read_lists(folder / PLACES).items()}
        streets = {fold(word.strip(".")) for title in ("streetend_en", "streetend_us") for word in places[title]}
        self._streets = streets - self._names - EVERYDAY
        countries = "|".join(re.escape(name) for title in ("countries_en", "countries_de") for name in places[title])
        self._country = re.compile(rf"(?:,|\s*\n)[\s>]*(?:{countries})\b", re.IGNORECASE)
        self._is_ordinary = lru_cache(maxsize=100_000)(self._ordinary_word)

    @staticmethod
    def exists_in(folder: str) -> bool:
        """Whether a model's folder brings the lists."""
        return all((Path(folder) / name).is_file() for name in (NAMES, ORDINARY, PLACES))

    def accepts(self, text: str, start: int, end: int) -> bool:
        """Whether the characters from `start` to before `end` can be a person's name."""
        before, after = text[start - 1 : start] if start else "", text[end : end + 1]
        words = [word for compound in WORD.findall(text[start:end]) for word in compound.split("-")]
        if not words or MARKUP.search(text, start, end) or before in TOUCHING_BEFORE or after in TOUCHING_AFTER:
            return False
        if TITLE.search(text[max(0, start - LOOKED_BACK) : start]):
            return True
        listed = [word for word in words if not self._names.isdisjoint(forms(word))]
        content = [word for word in words if fold(word) not in PARTICLES]
        if all(word[0].islower() for word in words):
            if any(fold(word) not in EVERYDAY for word in listed):
                return True
            return text == text.lower() and not listed and not any(map(self._is_ordinary, content))
        return bool(listed) or not (all(map(self._is_ordinary, content)) or self._in_address(text, start, end, words))

    def _in_address(self, text: str, start: int, end: int, words: list[str]) -> bool:
        """Whether characters are in the place of a street or a town in an address."""
        following = NEXT.match(text, end)
        endings = [*words[1:][-1:], *(following.groups() if following else ())]  # `Xylo Parkway`, also marked in part
        if any(word[0].isupper() and fold(word) in self._streets for word in endings):
            return True
        flat = FLAT.search(text[max(0, start - LOOKED_BACK) : start])
        return flat is not None or self._country.match(text, end) is not None

    def _ordinary_word(self, word: str) -> bool:
        folded = fold(word)
        if self._listed(folded) or f"={folded}" in self._ordinary:
            return True
        cuts = range(PART, len(folded) - PART + 1)
        return any(
            folded[:cut].removesuffix("s") in self._ordinary and self._listed(folded[cut:], PART) for cut in cuts
        )

    def _listed(self, folded: str, least: int = 1) -> bool:
        """Whether a word is one of the list with an ending, and has `least` letters without it."""
        stems = (folded.removesuffix(ending) for ending in ENDINGS)
        return any(stem in self._ordinary for stem in stems if len(stem) >= least)


def read_lists(file: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Returns list name -> (names, held-out names) of a file of "list: a b c | d e" lines, `_` read as a space."""
    lists: dict[str, tuple[list[str], list[str]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            title, _, values = line.partition(": ")
            kept, held_out = ([v.replace("_", " ") for v in half.split()] for half in values.partition(" | ")[::2])
            lists[title] = (kept, held_out)
    return lists


def names(file: Path) -> frozenset[str]:
    """Returns the folded words of the names in a file of lists, less those held out."""
    kept = " ".join(name for names, _ in read_lists(file).values() for name in names)
    return frozenset(fold(word) for word in re.split(r"[\s-]+", kept)) - PARTICLES
