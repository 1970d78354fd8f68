"""Measure ner-small and write measured.json, the numbers of its card.

    python assets/ner-small/measure_ner.py --data DATA_FOLDER

DATA_FOLDER holds pii/synth_dataset_v2.json, support_qa/, support_kb/{en,de}/ and banking77/test.csv. Counts names,
companies and places found on the pii set (never trained on) and on sentences from held-out patterns and names, planted
names found in the demo's sample, findings on texts without names, and words per second. It trains nothing.
"""

import argparse
import csv
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import spacy
from build import SEED
from ner_sentences import LABELS, Span, Writer

from pipeline.screen.pii.person_filter import PersonFilter

FOLDER = Path(__file__).parent
SAMPLE = FOLDER.parent / "sample"
PII_LABELS = {"PERSON": "PERSON", "ORGANIZATION": "ORG", "GPE": "LOC"}
NEUTRAL = ("STREET_ADDRESS", "ZIP_CODE")  # found or not, they count neither for nor against LOC
OWN_NAME = "pfennigo"  # the sample's company, which the demo's `curate.pii.allow_list` holds
DOCUMENTS = 1000
MOST_TEXTS = 1500  # of each set of texts without names, evenly spread


def main() -> None:
    """Read the arguments, measure, write measured.json, print it."""
    parser = argparse.ArgumentParser(description="Measure the ner-small model.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--model", type=Path, default=FOLDER, help="folder of the model")
    parser.add_argument("--out", type=Path, default=FOLDER / "measured.json")
    arguments = parser.parse_args()
    nlp = spacy.load(arguments.model)
    measured: dict[str, Any] = {"pii": pii(nlp, arguments.data / "pii" / "synth_dataset_v2.json")}
    for lang in ("en", "de"):
        writer = Writer(lang, Random(SEED + 1), held_out=True)
        documents = [writer.document() for _ in range(DOCUMENTS)]
        gold = [spans for _, spans in documents]
        measured[f"held-out {lang}"] = scores(gold, find(nlp, [text for text, _ in documents]))
    measured["sample"] = sample(nlp)
    texts = nameless(arguments.data)
    measured["findings per 1,000 texts"] = {name: per_thousand(nlp, values) for name, values in texts.items()}
    measured["words per second"] = round(speed(nlp, texts["support_qa answers"]), -2)
    measured["megabytes"] = round(sum(p.stat().st_size for p in (arguments.model / "ner").iterdir()) / 1e6, 2)
    arguments.out.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(measured, indent=1), card(measured), sep="\n")


def card(measured: dict[str, Any]) -> str:
    """Returns the rows of the card's two tables."""
    rows = []
    for part in ("pii", "held-out en", "held-out de"):
        for label in LABELS:
            own = measured[part][label]
            cells = [
                " / ".join(f"{own[kind][key]:.3f}" for key in ("precision", "recall", "f1"))
                for kind in ("strict", "partial")
            ]
            rows.append(f"| {part} | {label} | {own['spans']} | {cells[0]} | {cells[1]} | {own['touched']:.3f} |")
    for name, counts in measured["findings per 1,000 texts"].items():
        rows.append(f"| {name} | {counts['texts']:,} | {counts['PERSON']} | {counts['ORG']} | {counts['LOC']} |")
    return "\n".join(rows)


def find(nlp: Any, texts: Iterable[str]) -> list[list[Span]]:
    """Returns the model's spans of every text, persons that the filter accepts, as the PII stage finds them."""
    accepts = PersonFilter(FOLDER).accepts
    return [
        [
            (e.start_char, e.end_char, e.label_)
            for e in doc.ents
            if e.label_ != "PERSON" or accepts(doc.text, e.start_char, e.end_char)
        ]
        for doc in nlp.pipe(texts, batch_size=128)
    ]


def overlaps(span: Span, others: Sequence[Span]) -> bool:
    """Whether a span shares a character with one of the others, labels aside."""
    return any(span[0] < end and start < span[1] for start, end, _ in others)


def scores(gold: list[list[Span]], found: list[list[Span]], neutral: list[list[Span]] | None = None) -> dict[str, Any]:
    """Returns per label precision, recall and F1, strict (same characters) and partial (a shared character).

    A found LOC that overlaps a neutral span is left out. "touched" is the share of gold spans overlapped by any label.
    """
    neutral = neutral or [[] for _ in gold]
    result: dict[str, Any] = {}
    for label in LABELS:
        counts: Counter[str] = Counter()
        for wanted, got, free in zip(gold, found, neutral, strict=True):
            truth = [span for span in wanted if span[2] == label]
            own = [
                s
                for s in got
                if s[2] == label and not (label == "LOC" and overlaps(s, free) and not overlaps(s, truth))
            ]
            counts["gold"] += len(truth)
            counts["found"] += len(own)
            counts["exact"] += len(set(truth) & set(own))
            counts["found right"] += sum(overlaps(span, truth) for span in own)
            counts["gold found"] += sum(overlaps(span, own) for span in truth)
            counts["gold touched"] += sum(overlaps(span, got) for span in truth)
        strict = prf(counts["exact"], counts["found"], counts["exact"], counts["gold"])
        partial = prf(counts["found right"], counts["found"], counts["gold found"], counts["gold"])
        touched = round(counts["gold touched"] / counts["gold"], 3)
        result[label] = {"spans": counts["gold"], "strict": strict, "partial": partial, "touched": touched}
    return result


def prf(right: int, found: int, recalled: int, gold: int) -> dict[str, float]:
    """Returns precision, recall and F1, rounded to three places."""
    precision, recall = right / max(found, 1), recalled / max(gold, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"precision": round(precision, 3), "recall": round(recall, 3), "f1": round(f1, 3)}


def pii(nlp: Any, path: Path) -> dict[str, Any]:
    """Returns the scores on the presidio-research set, and the share of street addresses a LOC overlaps."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    spans = [[(s["start_position"], s["end_position"], s["entity_type"]) for s in row["spans"]] for row in rows]
    gold = [[(a, b, PII_LABELS[kind]) for a, b, kind in row if kind in PII_LABELS] for row in spans]
    neutral = [[s for s in row if s[2] in NEUTRAL] for row in spans]
    found = find(nlp, [row["full_text"] for row in rows])
    result = scores(gold, found, neutral)
    streets = [(s, got) for row, got in zip(spans, found, strict=True) for s in row if s[2] == "STREET_ADDRESS"]
    hit = sum(overlaps(span, [g for g in got if g[2] == "LOC"]) for span, got in streets)
    result["STREET_ADDRESS"] = {"spans": len(streets), "overlapped by LOC": round(hit / len(streets), 3)}
    return result


def sample(nlp: Any) -> dict[str, Any]:
    """Returns recall on the planted persons of the demo's dump and PERSON findings that name nobody of the dump."""
    lines = (SAMPLE / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    planted = {row["id"]: [v["value"] for v in row["pii"] if v["type"] == "PERSON"] for row in map(json.loads, lines)}
    columns = {
        "zendesk": ("Id", ("Subject", "Description", "Latest public comment"), ("Requester", "Assignee", "Submitter")),
        "freshdesk": ("Ticket ID", ("Subject", "Description", "Agent response"), ("Full name", "Agent")),
    }
    tickets, people = [], set[str]()
    for source, (key, parts, names) in columns.items():
        with (SAMPLE / "dump" / f"{source}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                tickets.append((planted.get(row[key], []), "\n".join(row[part] or "" for part in parts)))
                people |= {word for name in names for word in re.findall(r"\w+", row[name] or "")}
    people |= {word for values in planted.values() for value in values for word in re.findall(r"\w+", value)}
    people |= {f"{word}s" for word in people}
    counts: Counter[str] = Counter()
    for (values, text), spans in zip(tickets, find(nlp, [text for _, text in tickets]), strict=True):
        persons = [text[a:b] for a, b, label in spans if label == "PERSON"]
        counts["planted"] += len(values)
        counts["recalled"] += sum(any(value in person or person in value for person in persons) for value in values)
        others = [person for person in persons if not people & set(re.findall(r"\w+", person))]
        counts["others"] += len(others)
        counts["allowed"] += sum(person.casefold() == OWN_NAME for person in others)
    recall, false = counts["recalled"] / counts["planted"], 1000 * counts["others"] / len(tickets)
    return {
        "tickets": len(tickets),
        "planted persons": counts["planted"],
        "recall": round(recall, 3),
        "PERSON naming nobody, per 1,000 tickets": round(false, 1),
        "of these the company's own name": round(1000 * counts["allowed"] / len(tickets), 1),
    }


def nameless(data: Path) -> dict[str, list[str]]:
    """Returns real support texts that name nobody: questions, answers, and the paragraphs of two knowledge bases."""
    with (data / "support_qa" / "bitext_customer_support_v2.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (data / "banking77" / "test.csv").open(encoding="utf-8", newline="") as file:
        banking = [row["text"] for row in csv.DictReader(file)]
    texts = {
        "support_qa questions": [row["instruction"] for row in rows],
        "support_qa answers": [row["response"] for row in rows],
        "banking77 questions": banking,
    }
    for lang in ("en", "de"):
        pages = sorted((data / "support_kb" / lang).rglob("*.md"))
        bodies = [re.sub(r"(?s)\A---.*?---|```.*?```", "", page.read_text(encoding="utf-8")) for page in pages]
        texts[f"support_kb {lang} paragraphs"] = [
            p for body in bodies for p in body.split("\n\n") if len(p.split()) > 3
        ]
    return {name: values[:: len(values) // MOST_TEXTS] for name, values in texts.items()}


def per_thousand(nlp: Any, texts: list[str]) -> dict[str, float]:
    """Returns the number of texts, and findings per 1,000 of them by label."""
    counts = Counter(label for spans in find(nlp, texts) for _, _, label in spans)
    return {"texts": len(texts), **{label: round(1000 * counts[label] / len(texts), 1) for label in LABELS}}


def speed(nlp: Any, texts: list[str]) -> float:
    """Returns words (spaces between them) per second of processor time through `nlp.pipe`."""
    started = time.process_time()
    find(nlp, texts)
    return sum(len(text.split()) for text in texts) / (time.process_time() - started)


if __name__ == "__main__":
    main()
