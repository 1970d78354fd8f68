"""A filter for a model's PERSON marks: conditions that every written name fulfils, in words an officer can check.

Output contract: `PersonFilter(folder).accepts(text, start, end)` tells whether characters start to end of a text can be
a person's name. They can not
1. where they hold no letter or are markup: a digit, a line break or one of `@/<>_=[]{}|\\#&;` is in them, or they are a
   piece of a link, a path or an identifier, whose characters touch them;
2. where all of their words begin with a small letter and none is a name of the list that is no everyday word as well;
   in a text without any capital, only if one of the words is ordinary or everyday;
3. where none of their words is a name of the list and all are ordinary words (`Loans`, `Kontonummern`, a compound of
   two of them as well; stop words of seven more languages as they are; `Team`, `Bot` and what else a sender is that is
   nobody);
4. where none of their words is a name of the list and they are a line of an address: the number of a flat before them
   (`Apt. 12`), a country behind them after a comma or on the next line, or a word for a street at their end;
5. where none of their words is a name of the list and the words around say that they are a place or a company: `moved
   to Kenosha`, `arbeite bei Datamyne`, an ordinary word at the end (`Harbour Tours`, `Cinnamon Star`), a ship's
   letters;
6. where they are one word that is a month, a day, a season, a colour or a bank, or a product's name: after a greeting
   or alone on a line it is a person even so (`Hi April,`).
After a title (`Herrn`, `Mrs.`) only the first holds. The lists come with the model: `names.txt`, less the names held
out, `ordinary.txt` and `places.txt`. A name that is in no list stands, unless it is where an address is. The conditions
only take marks away; this module finds no name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from pipeline.screen.pii.names import (
    CALENDAR,
    COMPANY,
    EVERYDAY,
    GENERIC,
    PARTICLES,
    PRODUCTS,
    SUPPORT_WORDS,
    WORD,
    fold,
    forms,
    words,
)

NAMES, ORDINARY, PLACES = "names.txt", "ordinary.txt", "places.txt"
MARKUP = re.compile(r"[@/<>_=\[\]{}|\\#&;0-9\r\n]")
TOUCHING_BEFORE, TOUCHING_AFTER = frozenset("/@_-.&#=<\\"), frozenset("@/_=;")
ENDINGS = ("", "s", "e", "en", "n", "er", "es", "ed", "d", "ing")  # of plurals, cases and verbs in both languages
DOUBLED = frozenset(letter * 2 for letter in "bdgklmnprt")
PART = 4  # letters of a part of a compound, at least
TITLE = re.compile(r"\b(?:herrn?|frau|familie|mrs?|ms|miss|dr|prof)\b\.?\s$", re.IGNORECASE)
FLAT = re.compile(r"\b(?:apt|apartment|suite|unit|box|flat|floor|room|wohnung|top)\b\.?\s#?\d+[,\s>]*$", re.IGNORECASE)
GREETING = re.compile(
    r"(?:\b(?:dear|hi|hello|hey|hallo|moin|liebe[rs]?|servus|name is|name ist|hei(?:ß|ss)e|bin|i'm|i am|this is|"
    r"regards|cheers|"
    r"gr(?:ü|ue)(?:ß|ss)en?|gru(?:ß|ss)|lg|vg|mfg|thanks|danke|frau|herrn?)[.,!]?|\n|(?-i:[A-ZÄÖÜ][\w'-]+) (?:and|und|"
    r"&))\s{1,3}$",
    re.IGNORECASE,
)
PLACE_BEFORE = re.compile(
    r"\b(?:(?:moved|moving|returned|returning|originally|live[sd]?|living|located|based|travel(?:l?ed|ing|s)?|grew up|"
    r"fly(?:ing)?|"
    r"flew)(?: back| here| out)?(?: from| to| in| near)|i'm in|wohne[nt]?(?: jetzt)? in|(?:zieh\w*|umgezogen|reise\w*|"
    r"flieg\w*|gezogen)"
    r" nach|komme[nt]? aus|(?:work(?:s|ed|ing)?|employed) (?:for|at|by)|arbeite[nt]? (?:bei|für)|filiale(?: in)?|"
    r"niederlassung(?: in)?)\s$",
    re.IGNORECASE,
)
SHIPS = words("uss usns usnv uscgc hms rms")
NUMBER_BEFORE = re.compile(r"\d $")
NEXT = re.compile(r" ([^\W\d_]+)")
LOOKED_BACK = 40  # characters before a mark


class PersonFilter:
    """The conditions with the lists of one model's folder."""

    def __init__(self, folder: Path) -> None:
        self._names = names(folder / NAMES)
        listed = (folder / ORDINARY).read_text(encoding="utf-8").split()  # `=word`: it alone
        self._ordinary = GENERIC.union(listed, SUPPORT_WORDS)
        places = {title: values for title, (values, _) in read_lists(folder / PLACES).items()}
        streets = {fold(word.strip(".")) for title in ("streetend_en", "streetend_us") for word in places[title]}
        self._streets = streets - self._names - EVERYDAY
        listed_places = (fold(name) for values in places.values() for name in values)
        self._places = frozenset(place for place in listed_places if self._names.isdisjoint(place.split())) - EVERYDAY
        countries = "|".join(re.escape(name) for title in ("countries_en", "countries_de") for name in places[title])
        self._country = re.compile(rf"(?:,|\s*\n)[\s>?*|-]*(?:{countries})\b", re.IGNORECASE)
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
        folded = [fold(word) for word in words]
        if self._is_thing(text, start, end, folded) or self._is_calendar_or_product(text, start, end, folded):
            return False
        listed = [word for word in words if not self._names.isdisjoint(forms(word))]
        certain = any(fold(word) not in EVERYDAY for word in listed)
        content = [word for word in words if fold(word) not in PARTICLES]
        if all(word[0].islower() for word in words):
            if certain:
                return True
            return text == text.lower() and not listed and not any(map(self._is_ordinary, content))
        if certain:
            return True
        if self._is_company(content) or (not listed and PLACE_BEFORE.search(text[max(0, start - LOOKED_BACK) : start])):
            return False
        return bool(listed) or not (all(map(self._is_ordinary, content)) or self._in_address(text, start, end, words))

    def _is_thing(self, text: str, start: int, end: int, folded: list[str]) -> bool:
        """Whether a mark is a ship, a company by its last word or the next, a numbered street, a listed place."""
        following = NEXT.match(text, end)
        last = [*folded[1:][-1:], *((fold(following[1]),) if following and following[1][0].isupper() else ())]
        if folded[0] in SHIPS or any(word in COMPANY for word in last):
            return True
        if (
            len(folded) > 1
            and folded[-1] in self._streets
            and NUMBER_BEFORE.search(text[max(0, start - LOOKED_BACK) : start])
        ):
            return True
        return " ".join(folded) in self._places and text[end : end + 1] != ","

    def _is_calendar_or_product(self, text: str, start: int, end: int, folded: list[str]) -> bool:
        """Whether a mark is a month, a day, a colour or a product, and nothing says that it is somebody's name."""
        if any(word in PRODUCTS for word in folded):
            return True
        if len(folded) > 1 or folded[0] not in CALENDAR:
            return False
        alone = text[end : end + 1] in ("", "\n", ",", "!") and (start == 0 or text[start - 1] == "\n")
        return not alone and GREETING.search(text[max(0, start - LOOKED_BACK) : start]) is None

    def _is_company(self, content: list[str]) -> bool:
        """Whether the last of several words is an ordinary one: that of a company, and no last name."""
        if len(content) < 2:
            return False
        last = fold(content[-1])
        return content[-1][0].isupper() and last not in self._names and self._listed(last, PART)

    def _in_address(self, text: str, start: int, end: int, words: list[str]) -> bool:
        """Whether characters are in the place of a street or a town in an address."""
        following = NEXT.match(text, end)
        endings = [*words[1:][-1:], *(following.groups() if following else ())]  # `Xylo Parkway`, also marked in part
        if any(word[0].isupper() and fold(word) in self._streets for word in endings):
            return True
        before = text[max(0, start - LOOKED_BACK) : start]
        if FLAT.search(before) or (len(words) > 1 and NUMBER_BEFORE.search(before)):
            return True
        return fold(words[-1]) in self._streets or self._country.match(text, end) is not None

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
        stems = {folded.removesuffix(ending) for ending in ENDINGS}
        stems |= {stem[:-1] for stem in stems if len(stem) > PART and stem[-2:] in DOUBLED}  # `shipped`
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
