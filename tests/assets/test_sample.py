"""The sample dump: a rebuild gives the committed bytes, EXPECTED.md is true, no unplanted pair is a near-duplicate.

Counts are made again here, from the CSV files and with this file's own shingles, not with the generator's functions.
Not here: whether the pipeline reproduces the counts (that is a test of the pipeline).
"""

from __future__ import annotations

import csv
import html
import json
import re
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

SAMPLE = Path(__file__).parents[2] / "assets" / "sample"
COLUMNS = {
    "zendesk": ("Id", "Subject", "Description", "Latest public comment", "Topic [list]"),
    "freshdesk": ("Ticket ID", "Subject", "Description", "Agent response", "Type"),
}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dump, generated again in a process of its own with another hash seed."""
    target = tmp_path_factory.mktemp("sample")
    subprocess.run([sys.executable, SAMPLE / "build.py", "--out", target], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def manifest() -> dict[tuple[str, str], Row]:
    lines = (SAMPLE / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return {(row["source"], row["id"]): row for row in map(json.loads, lines)}


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    text = (SAMPLE / "EXPECTED.md").read_text(encoding="utf-8")
    block: dict[str, Any] = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    return block


@pytest.fixture(scope="module")
def tables() -> dict[str, list[list[str]]]:
    found = {}
    for source in COLUMNS:
        with (SAMPLE / "dump" / f"{source}.csv").open(encoding="utf-8", newline="") as file:
            found[source] = list(csv.reader(file))
    return found


def records(tables: dict[str, list[list[str]]], source: str) -> list[dict[str, str]]:
    """Whole rows of a file by column name; `id`, `subject`, `body`, `answer`, `label` added."""
    header, *rows = tables[source]
    whole = [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]
    names = ("id", "subject", "body", "answer", "label")
    return [row | dict(zip(names, (row[column] for column in COLUMNS[source]), strict=True)) for row in whole]


def shingles(text: str) -> set[str]:
    tokens = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())
    return {" ".join(tokens[start : start + 3]) for start in range(max(1, len(tokens) - 2))}


def pairs_above(texts: dict[Any, str], limit: float) -> dict[frozenset[Any], float]:
    """All pairs with Jaccard >= limit, exactly: counts of common shingles through an inverted index."""
    sizes: dict[Any, int] = {}
    postings: dict[str, list[Any]] = defaultdict(list)
    found: dict[frozenset[Any], float] = {}
    for key, text in texts.items():
        grams = shingles(text)
        sizes[key] = len(grams)
        common = Counter(other for gram in grams for other in postings[gram])
        for other, count in common.items():
            score = count / (len(grams) + sizes[other] - count)
            if score >= limit:
                found[frozenset((key, other))] = score
        for gram in grams:
            postings[gram].append(key)
    return found


def test_rebuild_gives_the_committed_bytes(rebuilt: Path) -> None:
    committed = {path.relative_to(SAMPLE) for path in SAMPLE.rglob("*.csv")}
    committed |= {path.relative_to(SAMPLE) for path in (SAMPLE / "dump" / "pages").rglob("*.md")}
    committed |= {Path("EXPECTED.md"), Path("manifest.jsonl")}
    assert committed == {path.relative_to(rebuilt) for path in rebuilt.rglob("*") if path.is_file()}
    assert [path for path in sorted(committed) if (rebuilt / path).read_bytes() != (SAMPLE / path).read_bytes()] == []


def test_expected_counts_agree_with_the_manifest(
    manifest: dict[tuple[str, str], Row], expected: dict[str, Any]
) -> None:
    for source in COLUMNS:
        found = Counter(row["reason"] for (origin, _), row in manifest.items() if origin == source)
        counts = expected["sources"][source]
        assert counts["read"] == found.total() == counts["kept"] + sum(counts["rejected"].values())
        assert {"kept": counts["kept"], **counts["rejected"]} == dict(found)
    planted = Counter(value["type"] for row in manifest.values() if row["reason"] == "kept" for value in row["pii"])
    assert expected["pii_planted"] == dict(planted)


def test_expected_counts_agree_with_the_files(tables: dict[str, list[list[str]]], expected: dict[str, Any]) -> None:
    for source in COLUMNS:
        header, *rows = tables[source]
        whole = records(tables, source)
        counts = expected["sources"][source]
        broken = [row for row in rows if len(row) != len(header) or "\0" in "".join(row)]
        assert len(rows) == counts["read"]
        assert len(broken) == counts["rejected"]["unreadable"]
        assert sum(not (row["subject"] + row["body"]).strip() for row in whole) == counts["rejected"]["empty_prompt"]
        assert sum(not row["answer"].strip() for row in whole) == counts["rejected"]["empty_response"]
        texts = Counter(" ".join(f"{row['subject']}\n{row['body']}\n{row['answer']}".split()) for row in whole)
        assert sum(count - 1 for count in texts.values()) == counts["rejected"]["exact_duplicate"]


def test_last_freshdesk_row_ends_inside_a_quoted_field() -> None:
    raw = (SAMPLE / "dump" / "freshdesk.csv").read_bytes()
    assert raw.count(b'"') % 2 == 1
    assert not raw.endswith(b"\n")


def test_sections_of_the_pages_are_counted(expected: dict[str, Any]) -> None:
    sections = []
    for path in (SAMPLE / "dump" / "pages").rglob("*.md"):
        body = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        body = re.sub(r"^(```.*?^```)$", lambda match: match[0].replace("#", "."), body, flags=re.DOTALL | re.MULTILINE)
        parts = re.split(r"^(#+ .*)$", body, flags=re.MULTILINE)
        sections += [(head, text) for head, text in zip(parts[1::2], parts[2::2], strict=True) if text.strip()]
    counts = expected["sources"]["pages"]
    assert (len(sections), len(set(sections))) == (counts["read"], counts["kept"])


@pytest.mark.parametrize("mask", [False, True], ids=["raw", "masked"])
def test_only_planted_pairs_are_near_duplicates(
    tables: dict[str, list[list[str]]], manifest: dict[tuple[str, str], Row], mask: bool
) -> None:
    texts = {}
    for source in COLUMNS:
        for row in records(tables, source):
            plan = manifest[source, row["id"]]
            if plan["reason"] in ("empty_prompt", "empty_response", "unreadable"):
                continue
            body = html.unescape(row["body"].replace("<br>", "")) if mask else row["body"]
            body = re.split(r"\n\n-- \n|\n\n(?:On|Am) .* (?:wrote|Support):\n", body)[0] if mask else body
            prompt = body if body.startswith(row["subject"]) else f"{row['subject']}\n\n{body}"
            text = f"{prompt}\n{row['answer']}"
            for value in plan["pii"] if mask else ():
                text = text.replace(value["value"], f"<{value['type']}>")
            texts[source, row["id"]] = text
    pairs = pairs_above(texts, 0.70)
    planted = {
        frozenset((key, (key[0], row["twin"]))): row["reason"]
        for key, row in manifest.items()
        if row["twin"] is not None
    }
    assert set(pairs) == set(planted)
    assert min(pairs.values()) >= 0.88
    assert all((score == 1.0) == (planted[pair] == "exact_duplicate") for pair, score in pairs.items())


def test_planted_values_stand_where_the_manifest_says(
    tables: dict[str, list[list[str]]], manifest: dict[tuple[str, str], Row]
) -> None:
    for source in COLUMNS:
        for row in records(tables, source):
            for value in manifest[source, row["id"]]["pii"]:
                assert value["value"] in row[value["field"]]


def test_no_intent_or_label_dominates(manifest: dict[tuple[str, str], Row]) -> None:
    kept = [row for row in manifest.values() if row["reason"] == "kept"]
    assert max(Counter((row["lang"], row["intent"]) for row in kept).values()) < 40
    labels = Counter(row["label"] for row in kept)
    assert len(labels) == 14
    assert {name for name, count in labels.items() if count < 50} == {"API", "Referral"}


def test_sample_stays_small() -> None:
    kinds = {".csv", ".jsonl", ".md", ".py", ".txt"}
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.suffix in kinds) < 4_000_000
