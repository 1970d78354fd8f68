"""Composes tickets from the text tables in `content/`.

Contract: `Tables(lang)` reads the tables of one language; `compose` returns subject, body and answer of one ticket of
one intent, drawn with the caller's `random.Random`: `[a|b]` picks an alternative, `{slot}` a value that stays the same
within the ticket. Not here: uniqueness, personal data, defects, files.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from personal import Person

CONTENT = Path(__file__).parent / "content"
FRAME = {
    "en": ("Hello,\n\n", "\n\nKind regards\nYour Pfennigo team", "here is the answer point by point:"),
    "de": ("Guten Tag,\n\n", "\n\nFreundliche Grüße\nIhr Pfennigo-Team", "hier die Antwort Punkt für Punkt:"),
}
SORRY = {
    "en": "we are sorry that you had so much trouble, and we understand that you are upset.",
    "de": "es tut uns leid, dass Sie so viel Ärger hatten, und wir verstehen Ihren Unmut.",
}


@dataclass
class Ticket:
    """One row of a dump and what was planted in it. `core` is the body without quoted reply and signature."""

    lang: str
    intent: str
    label: str
    subject: str
    core: str
    answer: str
    requester: Person
    agent: str
    reason: str = "kept"
    messy: str = ""
    defect: str = ""
    body: str = ""
    twin: int | None = None
    pii: list[tuple[str, str, str]] = field(default_factory=list)
    source: str = ""
    row_id: int = 0

    def __post_init__(self) -> None:
        self.body = self.body or self.core


def lines(name: str) -> list[str]:
    """Lines of a content file without comments and blanks."""
    text = (CONTENT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


class Tables:
    """The content of one language: intents with their sentences, slot values, tone."""

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self.labels: dict[str, str] = {}
        self.parts: dict[str, dict[str, list[str]]] = {}
        for line in lines(f"{lang}.txt"):
            if line.startswith("== "):
                intent, label = line[3:].split(" | ")
                self.labels[intent] = label
                self.parts[intent] = defaultdict(list)
            else:
                kind, text = line.split(": ", 1)
                self.parts[intent][kind].append(text)
        self.slots = {name: values.split(" | ") for name, values in self._pairs(f"slots_{lang}.txt")}
        self.tone: dict[str, list[str]] = defaultdict(list)
        for kind, text in self._pairs(f"tone_{lang}.txt"):
            self.tone[kind].append(text)

    @staticmethod
    def _pairs(name: str) -> list[tuple[str, str]]:
        return [(line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in lines(name)]

    def fill(self, text: str, rng: Random, values: dict[str, str]) -> str:
        """Resolve alternatives and slots of one sentence; `values` remembers the slots of the ticket."""
        text = re.sub(r"\[([^\]]*)\]", lambda match: rng.choice(match[1].split("|")), text)
        for name in re.findall(r"{(\w+)}", text):
            values.setdefault(name, rng.choice(self.slots[name]))
        text = re.sub(r"{(\w+)}", lambda match: values[match[1]], text).strip()
        return text[:1].upper() + text[1:]

    def question(self, intent: str, rng: Random, long: bool) -> tuple[str, str]:
        """Subject and body: short is 8 to 35 words in all, long adds greeting, context, details, closing."""
        parts, tone, values = self.parts[intent], self.tone, dict[str, str]()
        subject = self.fill(rng.choice(parts["s"]), rng, values)
        ask = self.fill(rng.choice(parts["q"]), rng, values)
        if not long:
            extra = rng.choice(tone["z"][:9]) if rng.random() < 0.25 else ""
            body = f"{ask} {extra}".strip()
            chat = rng.random() < 0.08
            return (" ".join(body.split()[:6]) if chat else subject), body
        hello, context, closing = (rng.choice(tone[kind]) for kind in "gcz")
        some = rng.sample(parts["d"], min(len(parts["d"]), rng.randint(1, 2)))
        details = [self.fill(text, rng, values) for text in some]
        shape = rng.choice(["gcqdz", "gqdz", "gqdcz", "qdcz", "gdqz", "cqdz", "gcdqz"])
        words = {"g": [hello], "c": [context], "q": [ask], "d": details, "z": [closing]}
        gap = rng.choice([" ", "\n", "\n\n"])
        blocks = [" ".join(words[kind]) for kind in shape if kind not in "gz"]
        body = (f"{hello}\n\n" if "g" in shape else "") + gap.join(blocks) + f"\n\n{closing}"
        return subject, body

    def reply(self, intent: str, rng: Random, sorry: bool = False) -> str:
        """The agent's answer: greeting, thanks, facts in order, sign-off, in the house style."""
        opening, ending, listed = FRAME[self.lang]
        facts = [rng.choice(wordings) for wordings in self._facts(intent, rng)]
        thanks = SORRY[self.lang] if sorry else rng.choice(self.tone["t"])
        if len(facts) > 2 and rng.random() < 0.18:
            body = thanks[:-1] + (" and " if self.lang == "en" else ", ") + listed
            body += "".join(f"\n{number}. {fact}" for number, fact in enumerate(facts, 1))
        else:
            body = " ".join([thanks, *facts])
        extra = rng.choice(self.tone["e"]) if rng.random() < 0.35 else ""
        return opening + body + (f"\n\n{extra}" if extra else "") + ending

    def _facts(self, intent: str, rng: Random) -> list[list[str]]:
        parts = self.parts[intent]
        chance = {"1": 1.0, "2": 1.0, "3": 0.85, "4": 0.35}
        return [parts[number] for number in "1234" if parts[number] and rng.random() < chance[number]]
