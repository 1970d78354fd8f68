"""Real phrases for the paraphrases: banking77 questions, and open-vocabulary wishes and statements from the corpus.

Output: `banking_questions` and `banking_pairs` from the data set; `actions` ("set the size of the cache", what follows
"How do I") and `clauses` ("the report is not shown in the list") found in running text by pattern, so that a model
taught with them learns to carry over any words, not only ours. Not done here: framing them as questions.
"""

import csv
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from paraphrases import WORD, acceptable, load_grammar

_WORDS = r"[^.,;:?!()\"*_/`=<>@\[\]]"
_ACTIONS = {
    "en": re.compile(
        r"\b(?:you|I) (?:can|must|should|could|need to|have to|want to|may) (?:also )?"
        rf"([a-z]+ {_WORDS}{{8,60}})[.,;?]"
    ),
    "de": re.compile(
        r"\b(?:können Sie|Sie können|möchten Sie|Sie möchten|müssen Sie) (?!nicht|mich|sich|aber|auch|nur)"
        rf"({_WORDS}{{8,60}} (?!werden|sein|haben)[a-zäöü]{{3,}}en)[.,]"
    ),
}
_VERBS = {
    "en": "is|are|was|were|does not|cannot|can|has|have|will|do not|fails|contains|shows|needs|must",
    "de": "ist|sind|wird|werden|wurde|wurden|kann|können|hat|haben|enthält|zeigt|funktioniert|fehlt",
}
_SUBJECTS = {
    "en": "The|A|An|My|Some|This|All|No|You|We",
    "de": "Der|Die|Das|Ein|Eine|Es|Kein|Keine|Alle|Wir",
}
_CLAUSES = {
    lang: re.compile(
        rf"(?:^|[.!?] )((?:{_SUBJECTS[lang]}) {_WORDS}{{3,40}} (?:{_VERBS[lang]}) {_WORDS}{{6,60}})\.", re.MULTILINE
    )
    for lang in ("en", "de")
}
# A reader is addressed ("your account"); a customer speaks of "my account".
_PERSON = {
    "en": [(r"\byou are\b", "I am"), (r"\byour\b", "my"), (r"\bYour\b", "My"), (r"\byou\b", "I"), (r"\bYou\b", "I")],
    "de": [(r"\bIhr(en|em|er|e|es|)\b", r"mein\1"), (r"\bsich\b", "mich"), (r"\bSie\b", "ich")],
}


def _found(pattern: re.Pattern[str], texts: list[str], lang: str) -> list[str]:
    phrases: dict[str, None] = {}
    for text in texts:
        for phrase in pattern.findall(text):
            for old, new in _PERSON[lang]:
                phrase = re.sub(old, new, phrase)
            if 3 <= len(phrase.split()) <= 14:
                phrases[" ".join(phrase.split())] = None
    return list(phrases)


def actions(texts: list[str], lang: str) -> list[str]:
    """Distinct verb phrases of 3-14 words: what completes "How do I ...?" or ends "Wie kann ich ...?"."""
    return _found(_ACTIONS[lang], texts, lang)


def clauses(texts: list[str], lang: str) -> list[str]:
    """Distinct statements of 3-14 words without the full stop."""
    return _found(_CLAUSES[lang], texts, lang)


def banking_questions(data: Path, split: str) -> list[tuple[str, str]]:
    """(text, intent) of the banking77 `split` ("train" or "test"), white space normalised."""
    with (data / "banking77" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        return [(" ".join(row["text"].split()), row["category"]) for row in csv.DictReader(file)]


def banking_pairs(questions: list[tuple[str, str]], seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of questions of one intent whose content words overlap by 45-85 %, both ways, up to three a question."""
    rng = random.Random(seed)
    intents: dict[str, list[str]] = defaultdict(list)
    for text, intent in questions:
        intents[intent].append(text)
    stop = set(load_grammar("en")["stop words"][0][0].split())
    for texts in intents.values():
        words = {t: set(WORD.findall(t.lower())) - stop for t in texts}
        for source in texts:
            near = [
                t
                for t in texts
                if t != source
                and 0.45 <= len(words[t] & words[source]) / max(1, len(words[t] | words[source])) <= 0.85
                and acceptable(source, t)
            ]
            for target in rng.sample(near, min(3, len(near))):
                yield source, target
