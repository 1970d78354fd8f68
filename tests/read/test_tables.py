"""Tables with a column map: JSON lines and Parquet, types that are not text, dates, people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import schema
from pipeline.config import Columns, Read, TableSource
from pipeline.errors import InputError
from pipeline.read import discover
from pipeline.read.rows import parse_time
from pipeline.read.text.numbers import number

FULL = Columns(
    prompt="q", response="a", source_id="id", label="topic", created_at="when", status="state",
    names=("who",), emails=("mail",), phones=("tel",),
)  # fmt: skip
SETTINGS = Read(tables=(TableSource(match="t.*", columns=FULL),))
VALUE = {
    "q": " Why? ", "a": 42, "id": 7, "topic": None, "when": "2026-05-01T10:00:00+02:00", "state": "Solved",
    "who": "Anna Schmidt", "mail": "anna@example.org", "tel": None,
}  # fmt: skip


def check_full(row: dict[str, Any]) -> None:
    assert (row["prompt"], row["response"], row["source_id"], row["label"]) == ("Why?", "42", "7", None)
    assert row["created_at"] == datetime(2026, 5, 1, 8, tzinfo=UTC)
    assert row["resolved"] is True
    assert row["entities"] == [{"type": "NAME", "text": "Anna Schmidt"}, {"type": "EMAIL", "text": "anna@example.org"}]
    assert row["id"] == schema.content_id("qa", "Why?", "42")
    assert (row["kind"], row["origin"], row["pii"], row["stage"]) == ("qa", "real", [], None)


def test_jsonl(tmp_path: Path, read_rows: Any) -> None:
    lines = [
        json.dumps(VALUE),
        "",
        '{"q": "broken',
        "[1, 2]",
        '{"q": "x"}',
        '{"q": "half \\ud800", "a": "y"}',
        '{"q": "nul \\u0000", "a": "y"}',
        '{"a": "y"}',
        "[" * 100_000,
        json.dumps(VALUE),
    ]
    (tmp_path / "t.jsonl").write_text("\r\n".join(lines))
    rows = read_rows(tmp_path, SETTINGS)
    check_full(rows[0])
    assert [(row["line"], row["reason"]) for row in rows] == [
        (1, None),
        (3, "unreadable"),
        (4, "unreadable"),
        (5, "empty_response"),
        (6, "unreadable"),
        (7, "unreadable"),
        (8, "empty_prompt"),
        (9, "unreadable"),
        (10, None),
    ]


def test_jsonl_with_byte_order_mark_and_bad_byte(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    good = json.dumps({"question": "Größe?", "answer": "groß"}, ensure_ascii=False).encode()
    (tmp_path / "t.ndjson").write_bytes(b"\xef\xbb\xbf" + good + b'\n{"question": "\xff", "answer": "x"}\n' + good)
    rows = read_rows(tmp_path, qa)
    assert [(row["prompt"], row["reason"]) for row in rows] == [
        ("Größe?", None),
        ("", "unreadable"),
        ("Größe?", None),
    ]


def test_parquet(tmp_path: Path, read_rows: Any) -> None:
    values = [
        VALUE | {"a": "42", "when": datetime(2026, 5, 1, 8, tzinfo=UTC)},
        VALUE | {"q": None, "a": "x", "when": None},
    ]
    table = pa.Table.from_pylist(values * 3).append_column("unused", pa.array([[1]] * 6))
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=4)
    rows = read_rows(tmp_path, SETTINGS, 5)
    assert [row["line"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["reason"] for row in rows] == [None, "empty_prompt"] * 3
    check_full(rows[0])
    assert rows[1]["response"] == "x"


def test_broken_parquet(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        discover([str(tmp_path)], SETTINGS)


def test_jsonl_without_objects(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("[1]\nnot json\n")
    with pytest.raises(InputError, match="no JSON object in one of its first 1000 lines"):
        discover([str(tmp_path)], SETTINGS)


def test_table_without_entry(tmp_path: Path) -> None:
    (tmp_path / "faq.jsonl").write_text('{"frage": "x"}\n')
    with pytest.raises(InputError, match=r"no entry in curate\.read\.tables matches; its columns are `frage`"):
        discover([str(tmp_path)], SETTINGS)


RAW = 'question\tanswer\n"> quoted\n-- \nA &amp; B <br>"\t<p>Yes.</p>\n'


@pytest.mark.parametrize(("clean", "prompt", "response"), [
    (True, "> quoted\n--\nA & B", "Yes."),
    (False, "> quoted\n-- \nA &amp; B <br>", "<p>Yes.</p>"),
])  # fmt: skip
def test_mapped_tables_are_cleaned_unless_the_map_says_otherwise(
    tmp_path: Path, read_rows: Any, clean: bool, prompt: str, response: str
) -> None:
    (tmp_path / "t.tsv").write_text(RAW)
    columns = Columns(prompt="question", response="answer", clean=clean)
    (row,) = read_rows(tmp_path, Read(tables=(TableSource(match="*", columns=columns),)))
    assert (row["prompt"], row["response"]) == (prompt, response)
    removed = {item["kind"]: item["characters"] for item in row["removed"]}
    assert removed == ({"markup": 16, "whitespace": 1} if clean else {})
    assert row["characters"] == 38


def test_several_columns_are_one_question(tmp_path: Path, read_rows: Any) -> None:
    lines = [
        {"subject": "Card", "body": "It is gone.", "answer": "Hello Anna,", "more": "block it."},
        {"subject": "card", "body": "Card is gone.", "answer": "", "more": "Block it."},
        {"subject": "Card", "body": None, "answer": "Block it.", "more": None},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    columns = Columns(prompt=("subject", "body"), response=("answer", "more"))
    rows = read_rows(tmp_path, Read(tables=(TableSource(match="*", columns=columns),)))
    assert [(row["prompt"], row["response"]) for row in rows] == [
        ("Card\n\nIt is gone.", "Hello Anna,\n\nblock it."),
        ("Card is gone.", "Block it."),
        ("Card", "Block it."),
    ]
    assert rows[1]["removed"] == [{"kind": "repeated", "characters": 4}]
    wrong = Read(tables=(TableSource(match="*", columns=Columns(prompt=("subject", "boddy"), response="answer")),))
    with pytest.raises(InputError, match="no column `boddy`"):
        discover([str(tmp_path)], wrong)


def test_nan_is_a_missing_value_and_a_float_keeps_its_digits(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    settings = Read(tables=(TableSource(match="*", columns=FULL),))
    nan = float("nan")
    values = [{"q": "Why?", "a": "So.", "id": 20000010.0, "topic": nan, "when": nan, "state": nan, "who": nan}]
    values.append({"q": "Why?", "a": nan, "id": 20000011.0, "topic": "Cards", "when": None, "state": "", "who": "Anna"})
    values = [value | {"mail": nan, "tel": 49301234567.0} for value in values]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, values)))
    table = pa.Table.from_pylist([value | {"a": "So.", "topic": None} for value in values[:1]])
    pq.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text(
        "q,a,id,topic,when,state,who,mail,tel\nWhy?,So.,20000010.0,nan,,nan,,,49301234567\n"
    )
    for name, count in (("t.jsonl", 2), ("t.parquet", 1), ("t.csv", 1)):
        rows = read_rows(tmp_path / name, settings)
        assert [row["source_id"] for row in rows] == ["20000010", "20000011"][:count]
        assert [row["reason"] for row in rows] == [None, "empty_response"][:count]
        assert rows[0]["label"] is None
        assert [entity["text"] for entity in rows[0]["entities"]] == ["49301234567"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20000010.0", "20000010"), ("2.0000010e+07", "20000010"), (" 7 ", "7"), ("007", "007"), ("1.5", "1.5"),
        ("1.23457E+14", "1.23457E+14"), ("1,23457E+14", "1,23457E+14"), ("v1.0", "v1.0"), ("10.00", "10"),
    ],
)  # fmt: skip
def test_numbers_of_tickets(text: str, expected: str) -> None:
    assert number(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02 07:33", datetime(2026, 1, 2, 7, 33, tzinfo=UTC)),
        ("2026-01-02T07:33:00Z", datetime(2026, 1, 2, 7, 33, tzinfo=UTC)),
        ("2026-01-02 07:33:00 UTC", datetime(2026, 1, 2, 7, 33, tzinfo=UTC)),
        ("2026-01-02 07:33:00 +0100", datetime(2026, 1, 2, 6, 33, tzinfo=UTC)),
        ("2.1.2026 07:33", datetime(2026, 1, 2, 7, 33, tzinfo=UTC)),
        ("02.01.2026", datetime(2026, 1, 2, tzinfo=UTC)),
        ("Fri, 02 Jan 2026 07:33:00 +0100", datetime(2026, 1, 2, 6, 33, tzinfo=UTC)),
        ("01/02/2026", None),
        ("32.01.2026", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times(text: str, expected: datetime | None) -> None:
    assert parse_time(text) == expected
