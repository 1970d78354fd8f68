"""A support dump of any size, for measuring: `python -m bench.dump FOLDER --rows 1000000 [--files 4] [--seed 0]`.

Output contract: `FOLDER/tickets-NN.csv` in Zendesk's export layout, about 765 characters of text a row, and the counts
of what was planted on stdout as JSON. Of 1,000 rows about 30 repeat an earlier one exactly, 120 nearly (one word in 40
differs), 20 are in a language nobody expects, `--toxic` (5) are abusive, 300 carry personal data in the text; one in
10,000 is broken. The same arguments give the same bytes. Memory does not grow with the rows.
The sentences are those of the bundled sample with single words swapped, so rows differ but make little sense.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter, deque
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

SAMPLE = Path(__file__).parent.parent / "assets" / "sample"
sys.path.insert(0, str(SAMPLE))

import personal  # noqa: E402
from tickets import Tables, lines  # noqa: E402

HEADER = [
    *("Summation column", "Id", "Requester", "Requester id", "Requester email", "Assignee", "Group", "Subject", "Tags"),
    *("Status", "Priority", "Created at", "Updated at", "Solved at", "Satisfaction Score", "Topic [list]"),
    *("Description", "Latest public comment"),
]
SENTENCES = 4_000  # per language, before words are swapped
RECENT = 500  # rows that a later one may repeat


class Words:
    """The sentences of one language, and words to swap into them."""

    def __init__(self, lang: str, rng: Random) -> None:
        tables = Tables(lang)
        intents = sorted(tables.parts)
        self.labels = sorted(set(tables.labels.values()))
        self.subjects = [tables.question(rng.choice(intents), rng, False)[0] for _ in range(SENTENCES)]
        self.questions = [tables.question(rng.choice(intents), rng, False)[1] for _ in range(SENTENCES)]
        self.answers = [
            sentence + "."
            for _ in range(SENTENCES // 4)
            for sentence in tables.reply(rng.choice(intents), rng).replace("\n", " ").split(". ")[1:-1]
        ]
        self.vocabulary = sorted({word for text in self.questions for word in text.split() if word.isalpha()})

    def text(self, sentences: list[str], count: int, rng: Random) -> str:
        chosen = [rng.choice(sentences).split() for _ in range(count)]
        for words in chosen:
            words[rng.randrange(len(words))] = rng.choice(self.vocabulary)
        return " ".join(map(" ".join, chosen))


def _personal(rng: Random, who: personal.Person) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return f"\nYou reach me at {who.email}."
    if kind == 1:
        return f"\nMy IBAN is {personal.iban(rng)}."
    if kind == 2:
        return f"\nTel.: {who.phone}"
    if kind == 3:
        return f"\nCard {personal.card(rng)}, address {personal.ip_address(rng)}."
    return f"\n\nKind regards\n{who.name}"


class Dump:
    """Draws rows one after another; `counts` says what was planted so far."""

    def __init__(self, seed: int, toxic: float) -> None:
        self._rng = Random(seed)
        self._toxic_share = toxic
        self._words = {lang: Words(lang, self._rng) for lang in ("en", "de")}
        self._foreign = [line.split(" | ") for line in lines("foreign.txt")]
        self._abuse = [line.split(" | ") for line in lines("toxic.txt")]
        self._recent: deque[list[str]] = deque(maxlen=RECENT)
        self._number = 0
        self.counts: Counter[str] = Counter()

    def row(self) -> list[str]:
        rng = self._rng
        self._number += 1
        draw = rng.random()
        if draw < 0.15 and self._recent:
            kind = "exact" if draw < 0.03 else "near"
            texts = list(rng.choice(self._recent))
            if kind == "near":
                words = texts[2].split(" ")
                words[rng.randrange(len(words))] = rng.choice(self._words["en"].vocabulary)
                texts[2] = " ".join(words)
        else:
            kind, texts = self._fresh(draw)
        self.counts[kind] += 1
        self._recent.append(texts)
        return self._record(texts)

    def _fresh(self, draw: float) -> tuple[str, list[str]]:
        rng = self._rng
        if draw < 0.17:
            _, label, subject, text = rng.choice([line for line in self._foreign if len(line) == 4])
            answers = [line[2] for line in self._foreign if line[1] == "answer"]
            return "foreign", [label, subject, f"{text} {rng.randrange(10**6)}", rng.choice(answers)]
        words = self._words[rng.choice(("en", "en", "de"))]
        body = words.text(words.questions, rng.randint(2, 5), rng)
        kind = "kept"
        if draw < 0.17 + self._toxic_share:
            body, kind = f"{rng.choice([line[3] for line in self._abuse])} {body}", "toxic"
        answer = words.text(words.answers, rng.randint(5, 8), rng)
        return kind, [rng.choice(words.labels), rng.choice(words.subjects), body, answer]

    def _record(self, texts: list[str]) -> list[str]:
        rng = self._rng
        label, subject, body, answer = texts
        who = personal.person(rng, "en")
        if rng.random() < 0.3:
            body += _personal(rng, who)
            self.counts["personal"] += 1
        created = datetime(2025, 1, 1) + timedelta(minutes=self._number)
        when = created.strftime("%Y-%m-%d %H:%M")
        agent = rng.choice(personal.AGENTS)
        number = str(self._number)
        identity = ["1", number, who.name, str(903_000_000 + self._number), who.email, agent]
        return [*identity, "Support", subject, label, "Solved", "Normal", when, when, when, "Good", label, body, answer]


def write(folder: Path, rows: int, files: int, seed: int, toxic: float = 0.005) -> dict[str, Any]:
    """Writes the dump; returns what was planted."""
    folder.mkdir(parents=True, exist_ok=True)
    dump = Dump(seed, toxic)
    for number in range(files):
        count = rows * (number + 1) // files - rows * number // files
        with (folder / f"tickets-{number:02d}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(HEADER)
            for _ in range(count):
                record = dump.row()
                broken = dump.counts.total() % 10_000 == 9_999
                writer.writerow(record[:5] if broken else record)
                dump.counts["broken"] += broken
    return {"rows": rows, **sorted_counts(dump.counts)}


def sorted_counts(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description="A support dump of any size.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--files", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--toxic", type=float, default=0.005, help="share of abusive rows")
    args = parser.parse_args()
    print(json.dumps(write(args.folder, args.rows, args.files, args.seed, args.toxic)))


if __name__ == "__main__":
    main()
