"""A small seeded grammar of customer messages: abusive ones and decent ones, English and German.

`sentence(kind, rng)` expands one frame into one sentence, sometimes with its swear words masked ("f***ing", "sh1t",
"Arschloecher"). Every fifth frame is held out for measuring: a `Grammar(..., held_out=True)` uses only those, one with
False only the others; the single facts of [hard] are never held out. Words are shared between both sides, sentence
frames are not. The phrases are in phrases_en.txt and phrases_de.txt. It knows no real text.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

HOLD_OUT_EVERY = 5
_SWEARING = re.compile(
    r"\b(?:mother)?(?:fuck|shit|bitch|cunt|ass(?:hole)?s?\b|arse|dick|prick|twat|wank|bastard|nigg|fag|pussy|whore|"
    r"idiot|moron|scheiß|scheiss|arsch|fick|fotze|wichs|hure|schlampe|missgeburt|verfickt|beschissen|spast)\w*",
    re.IGNORECASE,
)
_LEET = str.maketrans({"i": "1", "o": "0", "a": "@", "e": "3", "s": "$"})
_SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})


@dataclass(frozen=True)
class Grammar:
    """Sentences of one language ("en" or "de"), from the training frames or from the held-out ones."""

    lang: str
    held_out: bool

    def sentence(self, kind: str, rng: Random) -> str:
        """One sentence of `kind`, letter case and punctuation varied.

        "abuse" is toxic. "contrast" is an abusive frame with harmless words in it; it, "decent", "hard", "neutral"
        and "words" are not toxic.
        """
        phrases = read_phrases(self.lang)
        if kind == "abuse":
            text = expand(rng.choice(self._frames("abuse") + self._frames("outright abuse")), phrases, rng)
            text = mask_swearing(text, 0.2, rng) + rng.choice(("", ".", "!", "!", "!!", "!!!"))
        elif kind == "contrast":
            harmless = phrases | {
                f"slot {name[9:]}": words for name, words in phrases.items() if name[:9] == "harmless "
            }
            text = expand(rng.choice(self._frames("abuse")), harmless, rng) + rng.choice(("", ".", "!", "!!"))
        elif kind == "hard":
            text = expand(rng.choice(phrases["hard"]), phrases, rng)
        elif kind == "words":
            words = [
                _as_rare_word(word, phrases["words"], rng)
                for word in rng.choices(phrases["words"], k=rng.randint(2, 14))
            ]
            text = " ".join(words) + rng.choice(("", ".", "?", "!"))
        else:
            text = expand(rng.choice(self._frames(kind)), phrases, rng)
        return _vary(text, self.lang, rng)

    def _frames(self, section: str) -> list[str]:
        frames = read_phrases(self.lang)[section]
        return [frame for i, frame in enumerate(frames) if (i % HOLD_OUT_EVERY == 0) == self.held_out]


@functools.cache
def read_phrases(lang: str) -> dict[str, list[str]]:
    """The lists of one language's phrase file by section name: "abuse", "slot NAME", "harmless NAME" and so on."""
    lists: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / f"phrases_{lang}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = lists.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            section.extend(line.split("|"))
    return lists


def expand(frame: str, phrases: dict[str, list[str]], rng: Random) -> str:
    """Replace every `{slot}` by a random member of its list, nested slots included. KeyError on an unknown slot."""
    while "{" in frame:
        frame = re.sub(r"\{(\w+)\}", lambda found: rng.choice(phrases[f"slot {found[1]}"]), frame)
    return frame


def mask_swearing(text: str, share: float, rng: Random) -> str:
    """Mask each swear word with probability `share`: stars inside, or one letter as a look-alike digit or sign."""

    def masked(found: re.Match[str]) -> str:
        word = found[0]
        if rng.random() >= share or len(word) < 3:
            return word
        if rng.random() < 0.25:
            i = rng.randrange(1, len(word))
            return word[:i] + word[i].translate(_LEET) + word[i + 1 :]
        head = rng.choice((1, 1, 2))
        hidden = rng.randint(1, 3) if len(word) > 6 else rng.randint(1, max(1, len(word) - head))
        return word[:head] + rng.choice("****#-") * rng.choice((hidden, 3)) + word[head + hidden :]

    return _SWEARING.sub(masked, text)


def disguise(text: str, share: float, rng: Random) -> str:
    """Disguise each swear word with probability `share`: letters drawn out ("fuuuck") or set apart ("f u c k")."""

    def disguised(found: re.Match[str]) -> str:
        word = found[0]
        if rng.random() >= share:
            return word
        if rng.random() < 0.5:
            i = rng.randrange(1, len(word))
            return word[:i] + word[i - 1] * rng.randint(2, 4) + word[i:]
        return rng.choice((" ", ".", "-", "_")).join(word)

    return _SWEARING.sub(disguised, text)


def swears(text: str) -> bool:
    """Whether a plainly spelt swear word or insult of the mask list stands in `text`."""
    return _SWEARING.search(text) is not None


def _as_rare_word(word: str, words: list[str], rng: Random) -> str:
    draw = rng.random()
    if draw < 0.15:
        return word + rng.choice(words).lower()
    if draw < 0.25:
        return "".join(
            rng.choice("bdfghklmnprstvwz") + rng.choice("aeiouäöü") for _ in range(rng.randint(1, 3))
        ).title()
    if draw < 0.3:
        i = rng.randrange(len(word))
        return word[:i] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[i + 1 :]
    return word


def _vary(text: str, lang: str, rng: Random) -> str:
    draw = rng.random()
    if draw < 0.06:
        text = text.upper()
    elif draw < 0.16:
        text = text.lower()
    else:
        text = text[:1].upper() + text[1:]
    if lang == "de" and rng.random() < 0.15:
        text = text.translate(_SPELT_OUT)
    return text
