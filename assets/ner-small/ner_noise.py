"""What people do to text: lower case, capitals, typing errors, words nobody expects.

Output contract: `add_noise` takes and returns (text, label) segments, as many and with the same labels; only their
texts differ, and none gets empty. Not done here: anything about names.
"""

import re
from random import Random

from ner_names import Markov

Segment = tuple[str, str]
TRANSLITERATED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
PLAIN_LETTERS = str.maketrans("éèêáàâíîóôúûçñãõåøćčšžłńśźżęąőűěřůýığş", "eeeaaaiioouucnaoaoccszlnszzeaoueruyigs")
BEFORE_NOUN = re.compile(
    r"\b(d(er|ie|as|en|em|es)|([mk]?ein|diese|jede|unsere|Ihre)[enmrs]{0,2}|zu[rm]|[iav]m|beim|ins) $"
)


class Words:
    """Ordinary words of a language, and words that do not exist; nothing drawn here is a name."""

    def __init__(self, lang: str, words: list[str]) -> None:
        self._german = lang == "de"
        self._lower = [word for word in words if word[0].islower()]
        self._upper = [word for word in words if word[0].isupper()]
        self._chain = Markov([word.capitalize() for word in self._lower if len(word) > 3])

    def lower(self, rng: Random) -> str:
        """Returns a word in lower case, one of two made up."""
        return rng.choice(self._lower) if rng.random() < 0.5 else self._chain.draw(rng).lower()

    def upper(self, rng: Random) -> str:
        """Returns a word that is written with a capital: a noun in German, or what begins a sentence."""
        return rng.choice(self._upper)

    def salad(self, rng: Random) -> str:
        """Returns words in no order, with the punctuation of prose or of a list."""
        upper = 0.3 if self._german else 0.06
        parts = [rng.choice(("", "", f"{rng.randint(1, 9)}. ", "- ", "> ")), self.upper(rng)]
        for _ in range(rng.randint(2, 25)):
            if rng.random() < 0.12:
                parts.append(rng.choice((". ", ". ", "? ", ": ", "! ", ".\n", " > ")) + self.upper(rng))
            else:
                gap = rng.choice(
                    (" ", " ", " ", " ", " ", ", ", " and " if not self._german else " und ", " (", ") ", " - ")
                )
                parts.append(gap + (self.upper(rng) if rng.random() < upper else self.lower(rng)))
        return "".join(parts) + rng.choice((".", ".", "", "!", "?"))

    def instead(self, text: str, rng: Random, share: float) -> str:
        """Replaces a share of the words of a text, the German nouns after a determiner by made-up ones too."""

        def replace(match: re.Match[str]) -> str:
            if rng.random() > share:
                return match[0]
            if match[0][0].islower():
                return self.lower(rng)
            noun = self._german and BEFORE_NOUN.search(text[: match.start()])
            return self._chain.draw(rng) if noun and rng.random() < 0.5 else self.upper(rng)

        return re.sub(r"(?<![\w<{@./'-])[^\W\d_]{3,}(?![\w>}@./'-])", replace, text)


def add_noise(segments: list[Segment], rng: Random, words: Words | None) -> list[Segment]:
    """Returns the segments with one kind of spelling or another; without `words`, no other words come in."""
    if words is not None and rng.random() < 0.7:
        share = rng.choice((0.05, 0.1, 0.2, 0.35))
        segments = [(text if label else words.instead(text, rng, share), label) for text, label in segments]
    if words is not None and rng.random() < 0.15:
        segments = [(text if label else capitals(text, rng), label) for text, label in segments]
    if rng.random() < 0.12:
        segments = [
            (text if label and rng.random() < 0.7 else typing_errors(text, rng), label) for text, label in segments
        ]
    if rng.random() < 0.08:
        segments = [(text.translate(TRANSLITERATED), label) for text, label in segments]
    if rng.random() < 0.12:
        segments = [(text.translate(PLAIN_LETTERS), label) for text, label in segments]
    chance = rng.random()
    if chance < 0.06:
        return [(text.lower(), label) for text, label in segments]
    if chance < 0.09:
        return [(text.upper(), label) for text, label in segments]
    if chance < 0.1:
        return [(text.lower() if label else text, label) for text, label in segments]
    if chance < 0.13:
        return [(text.upper() if label else text, label) for text, label in segments]
    return segments


def capitals(text: str, rng: Random) -> str:
    """Writes runs of one to four words with capitals, as headings, labels and angry people do."""

    def raise_up(match: re.Match[str]) -> str:
        return match[0].title() if rng.random() < 0.15 else match[0]

    return re.sub(r"(?<![\w<{@./])[a-zäöü]{3,}(?: [a-zäöü]{2,}){0,3}(?![\w>}@./'])", raise_up, text)


def typing_errors(text: str, rng: Random) -> str:
    """Swaps, drops or doubles a letter in about one word of eight."""

    def damage(match: re.Match[str]) -> str:
        word = match[0]
        if rng.random() > 0.12:
            return word
        at = rng.randrange(1, len(word) - 1)
        changes = (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        )
        return rng.choice(changes)

    return re.sub(r"(?<![\w<{@./])[^\W\d_]{4,}(?![\w>}@./])", damage, text)
