"""Labelled tickets, mails and sentences: patterns filled with made-up names, then noise.

Output contract: `Writer.document` returns `(text, spans)`, spans as (start, end, label) in characters, sorted, not
overlapping, label PERSON, ORG or LOC. The same seed gives the same documents. `held_out=True` uses only every sixth
pattern of a section and only held-out names; `held_out=False` uses none of them and adds the phrases of ner_phrases.py.
"""

import re
from random import Random

from ner_fillers import Fillers
from ner_names import FOLDER, Names
from ner_noise import Segment, Words, add_noise
from ner_phrases import own_phrases, read_sections, vocabulary

Span = tuple[int, int, str]
LABELS = ("PERSON", "ORG", "LOC")
HELD_OUT_EVERY = 6
BODIES = {"body with names": 30, "general with names": 24, "body with organisations": 20, "body with places": 20}
PLAIN, OWN, SALAD = 55, 40, 18  # weights of sentences without a name: patterns, phrases of other assets, mere words
SLOTS = {  # slot -> (method of Names, label)
    **{slot: (slot, "PERSON") for slot in ("person", "first", "last", "full", "initials")},
    **{slot: (slot, "LOC") for slot in ("city", "country", "region", "place", "street", "road")},
    "gen": ("genitive", "PERSON"),
    "postal": ("postal", "LOC"),
    "org": ("org", "ORG"),
    "brand": ("brand", "ORG"),
}


class Writer:
    """Writes documents in one language."""

    def __init__(self, lang: str, rng: Random, held_out: bool = False) -> None:
        self._lang, self._rng = lang, rng
        self._names = Names(lang, rng, held_out)
        self._patterns = {
            section: [p for i, p in enumerate(patterns) if (i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1) == held_out]
            for section, patterns in read_sections(FOLDER / f"sentences_{lang}.txt").items()
        }
        self._fillers = Fillers(lang, rng, self._names)
        self._own = [] if held_out else own_phrases(lang)
        self._noise = None if held_out else Words(lang, vocabulary(lang))

    def document(self) -> tuple[str, list[Span]]:
        """Returns a sentence, a paragraph or a whole ticket."""
        rng, chance = self._rng, self._rng.random()
        self._names.new_origin()
        if chance < 0.1 and self._noise:
            segments = [(self._noise.salad(rng), "")]
        elif chance < 0.4:
            segments = self._body()
        elif chance < 0.65:
            segments = self._bodies(rng.randint(2, 4))
        else:
            segments = self._ticket()
        return join(add_noise(segments, rng, self._noise))

    def _ticket(self) -> list[Segment]:
        rng = self._rng
        gap = rng.choice(("\n", "\n", "\n\n", " "))
        parts = [self._fill("greeting")] if rng.random() < 0.75 else []
        if rng.random() < 0.1:
            parts.insert(0, [(self._fillers.value("heading" if self._lang == "en" else "Noun"), "")])
        parts.append(self._bodies(rng.randint(1, 4), rng.choice((" ", " ", " ", "\n"))))
        if rng.random() < 0.7:
            parts.append(self._fill("closing"))
        if rng.random() < 0.75:
            parts.append(self._fill("signature"))
        return [segment for part in parts for segment in [*part, (gap, "")]][:-1]

    def _bodies(self, count: int, gap: str = " ") -> list[Segment]:
        return [segment for _ in range(count) for segment in [*self._body(), (gap, "")]][:-1]

    def _body(self) -> list[Segment]:
        kinds = {**BODIES, "body plain": PLAIN, **({"own": OWN, "salad": SALAD} if self._noise else {})}
        kind = self._rng.choices(list(kinds), list(kinds.values()))[0]
        if kind == "own":
            return self._render(self._rng.choice(self._own))
        if kind == "salad" and self._noise:
            return [(self._noise.salad(self._rng), "")]
        return self._fill(kind)

    def _fill(self, section: str) -> list[Segment]:
        return self._render(self._rng.choice(self._patterns[section]))

    def _render(self, pattern: str) -> list[Segment]:
        """The pattern with its choices made and its slots filled, as (text, label or "") segments."""
        rng = self._rng
        pattern = re.sub(r"\[([^\[\]]*\|[^\[\]]*)\]", lambda m: rng.choice(m[1].split("|")), pattern).replace(
            "\\n", "\n"
        )
        if rng.random() < 0.6:
            self._names.new_origin()
        segments: list[Segment] = []
        for i, piece in enumerate(re.split(r"\{(\w+)\}", pattern)):
            segments += self._slot(piece) if i % 2 else [(piece, "")]
        return [segment for segment in segments if segment[0]]

    def _slot(self, slot: str) -> list[Segment]:
        names = self._names
        if slot in SLOTS:
            method, label = SLOTS[slot]
            return [(getattr(names, method)(), label)]
        if slot == "address":
            return self._address()
        return [(self._fillers.value(slot), "")]

    def _address(self) -> list[Segment]:
        """A street, now and then a flat, and a town with its postal code, or with the code after the country."""
        rng, names = self._rng, self._names
        gap: Segment = (rng.choice((", ", ", ", "\n", "\n ", "\n> ", " ", " - ")), "")
        parts: list[Segment] = [(names.street(), "LOC"), gap]
        if rng.random() < 0.5:
            parts += [(names.postal(), "LOC")]
            return [*parts, gap, (names.country(), "LOC")] if rng.random() < 0.3 else parts
        if rng.random() < 0.5:
            parts += [(f"{rng.choice(('Apt.', 'Suite', 'Unit', 'Box', 'Top', 'App.'))} {rng.randint(1, 999)}", ""), gap]
        parts += [(names.city(), "LOC"), gap, (names.country(), "LOC")]
        return [*parts, (f" {rng.randint(10000, 99999)}", "")] if rng.random() < 0.6 else parts


def join(segments: list[Segment]) -> tuple[str, list[Span]]:
    """Returns the text of the segments and the spans of the labelled ones; a doubled full stop becomes one.

    Two neighbouring PERSON segments with one space between, such as {first} {last}, are one person.
    """
    text, spans = "", []
    for piece, label in segments:
        if piece.startswith(".") and text.endswith(".") and not label:
            piece = piece[1:]
        if label == "PERSON" and spans and spans[-1][2] == label and text[spans[-1][1] :] == " ":
            spans[-1] = (spans[-1][0], len(text) + len(piece), label)
        elif label:
            spans.append((len(text), len(text) + len(piece), label))
        text += piece
    return text, spans
