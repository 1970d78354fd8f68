"""Phrases and words without names from two other assets of this project, tiny-base and toxicity-small.

Output contract: `own_phrases(lang)` returns patterns in the format of `sentences_en.txt`. A phrase with a slot we do
not fill is left out, and so is one that holds a name or place of our lists: nothing in it would be labelled.
"""

import json
import re
from importlib import import_module
from pathlib import Path

from ner_names import FOLDER

from pipeline.screen.pii.names import fold
from pipeline.screen.pii.person_filter import names, read_lists

SLOTS = {  # of the other assets -> ours
    "merchant": "org",
    "tool": "product",
    "device": "product",
    "thing": "noun",
    "ding": "noun",
    "num": "number",
    "zahl": "number",
    "zeit": "number",
    "days": "number",
    "n": "number",
    "weekday": "day",
} | {slot: slot for slot in ("date", "amount", "id", "month", "city", "day")}
FRAMES = {  # what turns an action of the grammar into a sentence
    "en": ("How do I %s?", "I want to %s.", "Please tell me how to %s"),
    "de": ("Wie kann ich %s?", "Ich möchte %s.", "Kann ich %s?"),
}
ALSO_WRITTEN = ("es", "fr", "it", "nl", "pl", "pt", "tr")
WORDS_TOO = {"Will", "April", "June", "Summer", "Hope", "Post", "Mark", "Otto", "Meta", "Visa"}


def read_sections(path: Path, mark: str = "== ") -> dict[str, list[str]]:
    """Returns section name -> its lines; empty lines and comments left out."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(mark):
            lines = sections.setdefault(line.removeprefix(mark).split(":")[0].strip("] "), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


def own_phrases(lang: str) -> list[str]:
    """Returns the phrases of one language as patterns with our slots."""
    assets = FOLDER.parent
    grammar = read_sections(assets / "tiny-base" / f"grammar.{lang}.txt")
    found = []
    for section in ("action", "problem", "info", "detail"):
        frames = FRAMES[lang] if section == "action" else ("%s",)
        phrases = [phrase for line in grammar[section] for phrase in re.split(r" \|\|? ", line)]
        phrases = [re.sub(r"\[([^\]]+)\]", lambda m: f"[{m[1].replace('/', '|')}]", phrase) for phrase in phrases]
        found += [frame % phrase for phrase in phrases for frame in frames]
    lists = read_sections(assets / "toxicity-small" / f"phrases_{lang}.txt", "[")
    found += [
        phrase for section in ("decent", "hard", "neutral") for line in lists[section] for phrase in line.split("|")
    ]
    known = known_names()
    return [with_our_slots(phrase) for phrase in found if fits(phrase) and not known & set(re.findall(r"\w+", phrase))]


def vocabulary(lang: str) -> list[str]:
    """Returns ordinary words in their usual case: toxicity-small's list, our openers, tiny-base's tokens, whole words
    among the WordPieces of tickets (`pieces.txt`)."""
    assets = FOLDER.parent
    lists = read_sections(assets / "toxicity-small" / f"phrases_{lang}.txt", "[")
    words = {word for line in lists["words"] for word in line.split("|")}
    for line in (FOLDER / f"words_{lang}.txt").read_text(encoding="utf-8").splitlines():
        words |= set(line.removeprefix("opener: ").split(" | ")) if line.startswith("opener: ") else set()
    tokenizer = json.loads((assets / "tiny-base" / "tokenizer.json").read_text(encoding="utf-8"))
    whole = re.compile(r"Ġ([a-zßäöü]{3,}|[A-Z][a-z]{3,})")
    words |= {found[1] for token in tokenizer["model"]["vocab"] if (found := whole.fullmatch(token))}
    words |= set((FOLDER / "pieces.txt").read_text(encoding="utf-8").split())
    people = {v for kept, held in read_lists(FOLDER / "names.txt").values() for v in kept + held}
    known = {name.lower() for name in known_names()}
    words = {word for word in words - people if word.lower() not in known}
    return sorted(word for word in words if re.fullmatch(r"[^\W\d_][\w'-]*", word))


def ordinary() -> list[str]:
    """Returns the ordinary words as `pipeline.screen.pii.person_filter` reads them: folded, no name's word.

    Those of both languages, and after a `=` spaCy's stop words of others that customers in Europe write in.
    """
    words: set[str] = set()
    for lang in ("en", "de"):
        words |= set(vocabulary(lang))
        for line in (FOLDER / f"words_{lang}.txt").read_text(encoding="utf-8").splitlines():
            slot, _, values = line.partition(": ")
            if not line.startswith("#") and slot not in ("tag", "code"):
                words |= set(re.findall(r"[^\W\d_]+", values))
    known = names(FOLDER / "names.txt")
    folded = {fold(word) for word in words} - known
    others = {fold(word) for lang in ALSO_WRITTEN for word in import_module(f"spacy.lang.{lang}.stop_words").STOP_WORDS}
    return sorted(folded) + [f"={word}" for word in sorted(others - folded - known) if word.isalpha() and len(word) > 2]


def fits(phrase: str) -> bool:
    """Whether we can fill every slot of a phrase."""
    return all(slot in SLOTS for slot in re.findall(r"\{(\w+)\}", phrase))


def with_our_slots(phrase: str) -> str:
    """Returns the phrase with our names for its slots."""
    return re.sub(r"\{(\w+)\}", lambda m: "{" + SLOTS[m[1]] + "}", phrase)


def known_names() -> set[str]:
    """Returns the first names, towns, countries and known organisations of the lists that are not words as well."""
    files = [read_lists(FOLDER / f"{file}.txt") for file in ("names", "places", "organisations")]
    lists = {key: values for found in files for key, values in found.items()}
    kinds = ("first", "cities", "cities_de", "cities_en", "countries_de", "countries_en", "known")
    names = {v for key, (kept, held) in lists.items() if key.split()[-1] in kinds for v in kept + held}
    return {name for name in names if len(name) > 3} - WORDS_TOO
