"""What holds for every table, page and text: hypothesis looks for the one it does not hold for."""

from __future__ import annotations

import contextlib
import csv
import html
import io
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline import schema
from pipeline.config import Columns, Markdown, Read, TableSource
from pipeline.read import discover, pieces, read
from pipeline.read.tables.csvfile import records
from pipeline.read.text import Side, clean
from pipeline.read.text.markup import plain
from tests.read.reference import csv_records, physical_lines

AS_IT_IS = Columns(prompt="question", response="answer", source_id="key", clean=False)
QA = Read(tables=(TableSource(match="*", columns=AS_IT_IS),))
SIDES: tuple[Side, ...] = ("customer", "agent")
often = settings(max_examples=200, deadline=None, derandomize=True, database=None)
seldom = settings(often, max_examples=40)  # writes and reads files

valid = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
hostile = st.text(st.sampled_from('ab",;\n\r\0 \t'), max_size=80)
western = st.text(
    st.sampled_from([bytes([byte]).decode("cp1252") for byte in range(32, 128)] + list("äöüß€“–\n")), max_size=40
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name)


def rows(path: Path, content: bytes, config: Read = QA) -> list[dict[str, Any]]:
    """Reads a file, in one part and in small ones, whole and in ranges: the same rows each time."""
    path.write_bytes(content)
    (file,) = discover([str(path)], config).files
    found = [row for part in read(file, config) for row in part.to_pylist()]
    ranges = pieces(file, size=20, rows=2)
    assert [row for piece in ranges for part in read(piece, config, 2) for row in part.to_pylist()] == found
    return found


# -- CSV --------------------------------------------------------------------------------------------------------------


@often
@given(st.lists(hostile, max_size=4), st.sampled_from(",;"), st.integers(1, 4))
def test_records_are_those_of_the_second_reader(blocks: list[str], delimiter: str, width: int) -> None:
    text = "".join(blocks)
    lines = physical_lines(text)
    assert list(records(lines, delimiter, width)) == csv_records(text, delimiter, width)
    assert list(records([text] if text else [], delimiter, width)) == csv_records(text, delimiter, width)


def cell(text: str) -> str:
    """What a cell holds: NaN, as Python writes a missing value, is nothing."""
    return "" if text in ("nan", "NaN") else text.strip()


@seldom
@given(
    st.lists(st.tuples(valid, valid, valid), max_size=8),
    st.sampled_from(",;\t"),
    st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "utf-32")),
    st.sampled_from((("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL), ("\r", csv.QUOTE_NONNUMERIC))),
    st.permutations(("question", "answer", "key")),
)
def test_a_written_table_comes_back(
    folder: Path,
    table: list[tuple[str, str, str]],
    delimiter: str,
    encoding: str,
    ends: tuple[str, Any],
    header: list[str],
) -> None:
    """Every row, once, with its line and its text; only a NUL makes one unreadable."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=ends[0], quoting=ends[1])
    writer.writerow(header)
    starts = []
    for row in table:
        starts.append(len(physical_lines(buffer.getvalue())) + 1)
        writer.writerow(row)
    found = rows(folder / "t.csv", buffer.getvalue().encode(encoding))
    assert [row["line"] for row in found] == starts
    for row, fields in zip(found, table, strict=True):
        value = dict(zip(header, fields, strict=True))
        if any("\0" in field for field in fields):
            assert (row["reason"], row["prompt"], row["response"]) == ("unreadable", "", "")
        else:
            assert (row["prompt"], row["response"]) == (cell(value["question"]), cell(value["answer"]))
            whole = re.fullmatch(r"(\d+)\.0*", cell(value["key"]))  # a ticket's number that became a float
            key = whole[1] if whole else cell(value["key"])
            assert row["source_id"] == (key or f"t.csv:{row['line']}")
            assert row["reason"] == (None if row["prompt"] and row["response"] else row["reason"])


@seldom
@given(st.lists(st.tuples(western, western), min_size=1, max_size=6))
def test_a_table_of_excel_in_western_europe(folder: Path, table: list[tuple[str, str]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=";").writerows([("question", "answer"), *table])
    content = buffer.getvalue().encode("cp1252")
    with contextlib.suppress(UnicodeDecodeError):
        assume(content.isascii() or not content.decode())  # else it is UTF-8 as well
    columns = Columns(prompt="question", response="answer")
    config = Read(tables=(TableSource(match="*", columns=columns),), encoding="cp1252")  # such texts are no language
    found = rows(folder / "t.csv", content, config)
    assert [(row["prompt"], row["response"]) for row in found] == [(cell(q), cell(a)) for q, a in table]


@seldom
@given(st.lists(st.tuples(valid, valid, valid), min_size=1, max_size=5), st.integers(0, 400))
def test_a_table_cut_off_loses_what_is_cut_off(folder: Path, table: list[tuple[str, str, str]], cut: int) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(("question", "answer", "key"))
    ends = []
    head = len(buffer.getvalue().encode())
    for row in table:
        writer.writerow(row)
        ends.append(len(buffer.getvalue().encode()))
    content = buffer.getvalue().encode()[: head + cut]
    found = rows(folder / "t.csv", content)
    whole = sum(end <= len(content) for end in ends)
    assert len(found) >= whole
    for row, fields in zip(found[:whole], table, strict=False):
        if "\0" not in "".join(fields):
            assert (row["prompt"], row["response"]) == (cell(fields[0]), cell(fields[1]))
    assert all(
        row["reason"] for row in found[whole:] if content[-2:] != b"\r\n" and not content.endswith((b'"', b"\r"))
    )


@seldom
@given(hostile.filter(lambda text: text.strip("\r\n")))
def test_any_text_below_a_header_is_read(folder: Path, text: str) -> None:
    found = rows(folder / "t.csv", b"question,answer,key\n" + text.encode())
    wanted = [record for record in csv_records("question,answer,key\n" + text, ",", 3) if record[0] > 1]
    assert [row["line"] for row in found] == [line for line, _ in wanted]
    assert [row["reason"] == "unreadable" for row in found] == [fields is None for _, fields in wanted]


# -- JSON lines, pages ------------------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@seldom
@given(st.lists(st.dictionaries(st.sampled_from(("question", "answer", "key")), scalars) | values | valid, max_size=6))
def test_json_lines(folder: Path, lines: list[Any]) -> None:
    """Any line that is an object is a row, any other is a reject, blank ones are neither."""
    head = json.dumps({"question": "q", "answer": "a", "key": 1})
    written = [line.replace("\n", " ") if isinstance(line, str) else json.dumps(line) for line in lines]
    found = rows(folder / "t.jsonl", "\n".join([head, *written]).encode())
    wanted = [number for number, line in enumerate(written, 2) if line.strip()]
    assert [row["line"] for row in found[1:]] == wanted
    for row in found[1:]:
        line = lines[row["line"] - 2]
        if not isinstance(line, dict | str):
            assert row["reason"] == "unreadable"


@seldom
@given(st.text(st.sampled_from("#`~-=<>{}[]()|*:!/ ab\n\r\t\0\"'\\é"), max_size=200), st.sampled_from((".md", ".mdx")))
def test_any_page_is_read(folder: Path, text: str, suffix: str) -> None:
    assume(text)
    config = Read(markdown=Markdown(questions=("a",), answers=("b",)))
    found = rows(folder / f"page{suffix}", text.encode(), config)
    assert found
    assert all(1 <= row["line"] <= len(text) + 1 for row in found)
    (folder / f"page{suffix}").unlink()


words = st.lists(st.sampled_from(("alpha", "beta", "gamma", "delta")), min_size=1, max_size=4).map(" ".join)


@seldom
@given(
    st.lists(st.tuples(st.integers(1, 6), words, words), min_size=1, max_size=6), st.sampled_from(("\n", "\r\n", "\r"))
)
def test_every_section_with_text_is_a_row(folder: Path, sections: list[tuple[int, str, str]], ends: str) -> None:
    text = "".join(f"{'#' * level} {title}\n\n{body}\n\n" for level, title, body in sections)
    found = rows(folder / "page.md", text.replace("\n", ends).encode())
    (folder / "page.md").unlink()
    assert [(row["line"], row["response"]) for row in found] == [
        (4 * number + 1, body) for number, (_, _, body) in enumerate(sections)
    ]


# -- short cuts that must not show ------------------------------------------------------------------------------------

SIGNS = (
    "<b>", "</p>", "&amp;", "\r", " \n", "\n\n\n", "> x", "On 3 May wrote:", "-- ", "---", "___", "From: x", "Von: y\n",
    "Sent from my iPhone", "Gesendet mit der GMX Mail App", "outlook", "CONFIDENTIAL", "##- x -##", "disclaimer:",
    " > y", "\n\x0b>", "\n\u2003> z", "\n\x1d**From: x", "Sent: y\nTo: z", "\x0c", "\xa0",
    "\u2028", "\x85", "İ", "ſ", "K",
)  # fmt: skip


@often
@given(st.lists(st.sampled_from((*SIGNS, "card", "\n", " ", "ä")) | valid, max_size=8).map("".join))
def test_what_was_cut_is_cut_no_further(text: str) -> None:
    for side in SIDES:
        once = clean(html.escape(text), side).text
        assert clean(html.escape(once), side).text == once
        assert once.strip() or not plain(text).strip()


def test_mails_that_were_cut_are_cut_no_further() -> None:
    mails = (Path(__file__).parent / "text" / "mails.txt").read_text(encoding="utf-8").split("\n\n")
    for text in [*mails, *("\n\n".join(mails[at : at + 8]) for at in range(len(mails)))]:
        for side in SIDES:
            once = clean(text, side).text
            assert clean(once, side).text == once


@often
@given(st.lists(st.sampled_from((" ", "\n", "\t", "\x1c", "\u2003", "a", "é")) | valid, max_size=8).map("".join))
def test_white_space_of_an_id(text: str) -> None:
    assert schema._flat(text) == " ".join(text.split())


def test_no_white_space_is_printable_but_the_space() -> None:
    """What `schema._flat` relies on."""
    assert [mark for mark in map(chr, range(sys.maxunicode + 1)) if mark.isspace() and mark.isprintable()] == [" "]
