"""Builds the sample CRM dump of the made-up fintech Pfennigo: `python assets/sample/build.py [--out DIR]`.

Contract: writes dump/ (zendesk.csv, freshdesk.csv, pages/), manifest.jsonl (a line per ticket row: what was planted in
it) and EXPECTED.md into DIR (default: this folder). Same code, same bytes, on any machine. Stops with an error if an
unplanted pair of tickets reaches Jaccard 0.70, or a planted near-duplicate stays below 0.88, raw or masked.
Not here: the texts (content/), any use of the pipeline.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import expected
import personal
from defects import foreign, fresh_copy, make_messy, masked, plant_pii, respace, reword, written
from export import freshdesk_csv, zendesk_csv
from overlap import Index, jaccard, shingles
from personal import AGENTS
from tickets import FRAME, Tables, Ticket, lines

SEED = 20261123
SOURCES = ("zendesk", "freshdesk")
KEPT = {"zendesk": 1069, "freshdesk": 712}
PLANTED = {
    "exact_duplicate": {"zendesk": 30, "freshdesk": 20},
    "near_duplicate": {"zendesk": 25, "freshdesk": 15},
    "language": {"zendesk": 24, "freshdesk": 16},
    "toxicity": {"zendesk": 24, "freshdesk": 16},
    "empty_prompt": {"zendesk": 5, "freshdesk": 5},
    "empty_response": {"zendesk": 15, "freshdesk": 10},
}
BROKEN = {
    "zendesk": ["too few fields"] * 3 + ["too many fields"] * 3 + ["NUL byte"] * 2,
    "freshdesk": ["too few fields"] * 2 + ["too many fields"] * 2 + ["NUL byte"] + ["truncated"],
}
PII = {
    "EMAIL_ADDRESS": 40,
    "IBAN_CODE": 40,
    "PHONE_NUMBER": 40,
    "CREDIT_CARD": 30,
    "IP_ADDRESS": 20,
    "DE_TAX_ID": 20,
    "DE_VAT_ID": 20,
    "URL": 15,
    "PERSON": 40,
    "ANSWER_PERSON": 20,
    "GENITIVE": 20,
}
MESSY = {"reply": 20, "signature": 20, "html": 20, "quotes": 20}
ENGLISH_SHARE = 0.6
FIRST_ID = {"zendesk": 20_481, "freshdesk": 5_012}


class Uniqueness:
    """All tickets accepted so far; refuses one that comes near another, as written, as cleaned or as masked."""

    LIMIT = 0.70

    def __init__(self) -> None:
        self._forms: list[tuple[Index, Callable[[Ticket], str]]] = [
            (Index(), lambda row: text_of(row.subject, row.body, row.answer)),
            (Index(), lambda row: masked(text_of(row.subject, row.core, row.answer), row)),
            (Index(), bare),
        ]
        self._numbers: dict[int, int] = {}

    def accept(self, ticket: Ticket, twin: Ticket | None = None) -> bool:
        """Store the ticket if it is below the limit against all others but its twin."""
        ignore = self._numbers[id(twin)] if twin else None
        if any(index.nearest(form(ticket), ignore)[0] >= self.LIMIT for index, form in self._forms):
            return False
        for index, form in self._forms:
            self._numbers[id(ticket)] = index.add(form(ticket))
        return True


def text_of(subject: str, body: str, answer: str) -> str:
    """The text that deduplication compares: prompt and response."""
    prompt = body if body.startswith(subject) else f"{subject}\n\n{body}"
    return f"{prompt}\n{answer}"


def bare(ticket: Ticket) -> str:
    """The masked text without the house's greeting and sign-off, which a cleaner may cut."""
    opening, ending, _ = FRAME.get(ticket.lang, FRAME["en"])
    answer = ticket.answer.removeprefix(opening).removesuffix(ending)
    return masked(text_of(ticket.subject, ticket.core, answer), ticket)


def compose(tables: Tables, intent: str, long: bool, rng: Random) -> Ticket:
    """One ordinary ticket without planted values."""
    subject, body = tables.question(intent, rng, long)
    who, agent = personal.person(rng, tables.lang), rng.choice(AGENTS)
    return Ticket(tables.lang, intent, tables.labels[intent], subject, body, tables.reply(intent, rng), who, agent)


def intents_in_turn(tables: Tables, rng: Random) -> Iterator[str]:
    """Endless stream of intents, each as often as the others, API and Referral a third as often."""
    turn = 0
    while True:
        batch = [name for name, label in tables.labels.items() if label not in ("API", "Referral") or turn % 3 == 0]
        rng.shuffle(batch)
        yield from batch
        turn += 1


def ordinary(count: int, tables: dict[str, Tables], known: Uniqueness, rng: Random) -> list[Ticket]:
    """`count` unique tickets, half of them short, with the personal values and messy bodies of PII and MESSY."""
    sentences = [line.split(" | ", 2) for line in lines("pii_sentences.txt")]
    extras = [("pii", kind) for kind, number in PII.items() for _ in range(number)]
    extras += [("messy", kind) for kind, number in MESSY.items() for _ in range(number)]
    streams = {lang: intents_in_turn(table, rng) for lang, table in tables.items()}
    rows: list[Ticket] = []
    for place in range(count):
        what, kind = extras[place] if place < len(extras) else ("", "")
        lang = "de" if kind == "GENITIVE" or rng.random() >= ENGLISH_SHARE else "en"
        intent, long = next(streams[lang]), rng.random() < 0.5
        for _ in range(300):
            row = compose(tables[lang], intent, long, rng)
            if what == "pii":
                plant_pii(row, kind, sentences, rng)
            elif what == "messy":
                make_messy(row, kind, rng)
            if known.accept(row):
                break
        else:
            raise ValueError(f"{lang} {intent}: no ticket below the limit in 300 tries; write more variants")
        rows.append(row)
    return rows


def duplicates(source: str, rows: list[Ticket], known: Uniqueness, rng: Random) -> list[Ticket]:
    """Exact and near duplicates of plain rows of one source."""
    plain = [row for row in rows if row.source == source and not (row.pii or row.messy or row.defect)]
    rng.shuffle(plain)
    made: list[Ticket] = []
    for number in range(PLANTED["exact_duplicate"][source]):
        base = plain.pop()
        copy = fresh_copy(base)
        copy.reason = "exact_duplicate"
        if number % 2:
            respace(copy, rng)
        made.append(copy)
    wanted = len(made) + PLANTED["near_duplicate"][source]
    while len(made) < wanted:
        base = plain.pop()
        copy = fresh_copy(base)
        copy.reason, copy.defect = "near_duplicate", "reworded"
        if not reword(copy, rng):
            continue
        score = jaccard(shingles(bare(base)), shingles(bare(copy)))
        if 0.88 <= score < 1.0 and known.accept(copy, twin=base):
            made.append(copy)
    return made


def defective(
    pools: dict[str, list[Ticket]], tables: dict[str, Tables], known: Uniqueness, rng: Random
) -> list[Ticket]:
    """Rows to be rejected for other reasons than duplication, in the order of SOURCES."""
    for pool in pools.values():
        rng.shuffle(pool)
    rows: list[Ticket] = []
    for source in SOURCES:
        made = [pools[reason].pop() for reason in ("language", "toxicity") for _ in range(PLANTED[reason][source])]
        for reason in ("empty_prompt", "empty_response"):
            for number in range(PLANTED[reason][source]):
                row = unique(tables, known, rng)
                row.reason, row.defect = reason, reason
                blank = "  \n" if number % 3 == 2 else ""
                if reason == "empty_prompt":
                    row.subject, row.body = "", blank
                else:
                    row.answer = blank
                made.append(row)
        for breakage in BROKEN[source]:
            row = unique(tables, known, rng)
            row.reason, row.defect = "unreadable", breakage
            if breakage == "NUL byte":
                row.body = row.body[:12] + "\0\0" + row.body[12:]
            made.append(row)
        for row in made:
            row.source = source
        rows += made
    return rows


def unique(tables: dict[str, Tables], known: Uniqueness, rng: Random) -> Ticket:
    """One more plain long ticket that is near no other."""
    while True:
        table = tables[rng.choice(["en", "en", "de"])]
        row = compose(table, rng.choice([*table.labels]), True, rng)
        if known.accept(row):
            return row


def generate() -> dict[str, list[Ticket]]:
    """All rows of both sources, in file order and numbered."""
    rng = Random(SEED)
    tables, known = {lang: Tables(lang) for lang in ("en", "de")}, Uniqueness()
    angry, abusive, other = written("angry.txt", tables, rng), written("toxic.txt", tables, rng), foreign(rng)
    if not all(known.accept(row) for row in [*angry, *abusive, *other]):
        raise ValueError("content/: two of the hand-written tickets are too similar")
    rows = angry + ordinary(sum(KEPT.values()) - len(angry), tables, known, rng)
    rng.shuffle(rows)
    for place, row in enumerate(rows):
        row.source = "zendesk" if place < KEPT["zendesk"] else "freshdesk"
    rows += [copy for source in SOURCES for copy in duplicates(source, rows, known, rng)]
    rows += defective({"language": other, "toxicity": abusive}, tables, known, rng)
    rng.shuffle(rows)
    rows.sort(key=lambda row: row.defect == "truncated")
    files = {source: [row for row in rows if row.source == source] for source in SOURCES}
    for source, members in files.items():
        number = FIRST_ID[source]
        for row in members:
            row.row_id = number
            number += rng.randint(1, 4)
    return files


def manifest(files: dict[str, list[Ticket]]) -> list[dict[str, object]]:
    """What each row is: source, id, language, intent, label, reason, what was planted."""
    ids = {id(row): row.row_id for members in files.values() for row in members}
    return [
        {
            "source": source,
            "id": str(row.row_id),
            "lang": row.lang,
            "intent": row.intent,
            "label": row.label,
            "reason": row.reason,
            "defect": row.defect,
            "messy": row.messy,
            "twin": str(ids[row.twin]) if row.twin else None,
            "pii": [{"type": kind, "value": value, "field": where} for kind, value, where in row.pii],
        }
        for source, members in files.items()
        for row in members
    ]


def main() -> None:
    """Write all files; print the counts."""
    parser = argparse.ArgumentParser(description="Build the sample CRM dump.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out: Path = parser.parse_args().out
    files = generate()
    rows = manifest(files)
    dump = out / "dump"
    dump.mkdir(parents=True, exist_ok=True)
    (dump / "zendesk.csv").write_bytes(zendesk_csv(files["zendesk"]))
    (dump / "freshdesk.csv").write_bytes(freshdesk_csv(files["freshdesk"]))
    (out / "manifest.jsonl").write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    sections = expected.write_pages(dump / "pages")
    copies = expected.check_pages(sections, Uniqueness.LIMIT)
    text = expected.page(rows, len(sections), copies, PII["GENITIVE"])
    (out / "EXPECTED.md").write_bytes(text.encode())
    print(text[text.index("```") :])


if __name__ == "__main__":
    main()
