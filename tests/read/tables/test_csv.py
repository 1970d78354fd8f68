"""A hostile CSV: every record comes out exactly once, parsed or as a reject with the line it starts on."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Read
from pipeline.read.tables.csvfile import MAX_RECORD, records

GOOD = 'question,answer\nHow?,"So, and so"\nWhy?,Because\n'


def outcome(rows: list[dict[str, Any]]) -> list[tuple[int, str | None, str]]:
    return [(row["line"], row["reason"], row["prompt"]) for row in rows]


@pytest.fixture
def table(tmp_path: Path, read_rows: Any, qa: Read) -> Any:
    def work(content: bytes | str, name: str = "t.csv") -> list[dict[str, Any]]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(read_rows(path, qa))

    return work


@pytest.mark.parametrize(
    ("prefix", "encoding"),
    [
        (b"", "utf-8"),
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
        (b"\xff\xfe\0\0", "utf-32-le"),
        (b"", "cp1252"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(table: Any, prefix: bytes, encoding: str, newline: str) -> None:
    text = 'question,answer\nWas heißt „öde“?,"Zeile eins\nZeile zwei – €"\nÜber?,Ja\n'.replace("\n", newline)
    rows = table(prefix + text.encode(encoding))
    assert [(row["line"], row["prompt"]) for row in rows] == [(2, "Was heißt „öde“?"), (4, "Über?")]
    assert rows[0]["response"].split() == ["Zeile", "eins", "Zeile", "zwei", "–", "€"]
    assert all(row["reason"] is None for row in rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_is_found_in_the_header(table: Any, delimiter: str) -> None:
    rows = table(GOOD.replace("question,", f"question{delimiter}").replace("?,", f"?{delimiter}"))
    assert [(row["prompt"], row["response"]) for row in rows] == [("How?", "So, and so"), ("Why?", "Because")]


def test_ragged_rows(table: Any) -> None:
    rows = table("question,answer\na,b\nshort\nc,d\ne,f,g\nh,i\n")
    assert outcome(rows) == [
        (2, None, "a"),
        (3, "unreadable", ""),
        (4, None, "c"),
        (5, "unreadable", ""),
        (6, None, "h"),
    ]


def test_nul_byte_costs_its_own_row_only(table: Any) -> None:
    rows = table(b'question,answer\na,b\n"x\ny\0",d\ne,f\n')
    assert outcome(rows) == [(2, None, "a"), (3, "unreadable", ""), (5, None, "e")]
    assert rows[1]["source_id"] == "t.csv:3"
    assert (rows[1]["prompt"], rows[1]["response"], rows[1]["entities"]) == ("", "", [])


def test_truncated_last_row_is_one_reject(table: Any) -> None:
    assert outcome(table('question,answer\na,b\nc,"d\ne, f\n"" g\nh')) == [(2, None, "a"), (3, "unreadable", "")]
    assert outcome(table("question,answer\na,b\nc")) == [(2, None, "a"), (3, "unreadable", "")]


def test_file_cut_inside_a_character(table: Any) -> None:
    whole = 'question,answer\nGrüße?,ja\nc,"für'.encode()
    rows = table(whole[: whole.rindex(b"\xc3") + 1])
    assert outcome(rows) == [(2, None, "Grüße?"), (3, "unreadable", "")]


def test_unclosed_quote_does_not_take_the_next_quoted_row(table: Any) -> None:
    rows = table('question,answer\n"a","b\n"c","d"\n"e","f"\n')
    assert outcome(rows) == [(2, "unreadable", ""), (3, None, "c"), (4, None, "e")]


def test_text_after_a_closing_quote(table: Any) -> None:
    rows = table('question,answer\n"a" and more,b\nc,d\n')
    assert outcome(rows) == [(2, "unreadable", ""), (3, None, "c")]


def test_one_bad_byte_does_not_turn_a_utf8_file_into_cp1252(table: Any) -> None:
    rows = table("question,answer\nGrüße?,schöne\n".encode() + b"Gr\xfc\xdfe?,x\n" + "Übel?,ja\n".encode())
    assert outcome(rows) == [(2, None, "Grüße?"), (3, "unreadable", ""), (4, None, "Übel?")]


def test_byte_that_cp1252_does_not_define(table: Any) -> None:
    rows = table(b"question,answer\nGr\xfc\xdfe?,ja\nb\x81d,x\nc,d\n")
    assert outcome(rows) == [(2, None, "Grüße?"), (3, "unreadable", ""), (4, None, "c")]


def test_utf16_cut_inside_a_character(table: Any) -> None:
    rows = table(b"\xff\xfe" + "question,answer\na,b\nc,d".encode("utf-16-le")[:-1])
    assert outcome(rows) == [(2, None, "a"), (3, "unreadable", "")]


def test_megabyte_field(table: Any) -> None:
    lines = "y\n" * (1 << 19)
    rows = table(f'question,answer\n{"x" * (1 << 20)},"{lines}"\nc,d\n')
    assert [len(row["prompt"]) for row in rows] == [1 << 20, 1]
    assert rows[1]["line"] == 3 + (1 << 19)


def test_a_field_without_end_is_bounded() -> None:
    lines = ["q,a\n", '"x,1\n', *(["y" * (1 << 20) + "\n"] * 17), "c,d\n"]
    found = list(records(lines, ",", 2))
    assert MAX_RECORD == 16 << 20
    assert found[1] == (2, None)
    assert found[-1] == (20, ["c", "d"])


def test_blank_lines_are_not_records_but_empty_fields_are(table: Any) -> None:
    rows = table("\nquestion,answer\n\na,b\n\n,\nc,\n")
    assert outcome(rows) == [(4, None, "a"), (6, "empty_prompt", ""), (7, "empty_response", "c")]


def test_a_header_alone_holds_no_rows(table: Any) -> None:
    assert table("question,answer\n") == []


def test_accounting_over_parts(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    """Every record written is read once, whatever the size of the parts; ids repeat when read again."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["question", "answer"])
    for number in range(101):
        writer.writerow([f"q {number}\nline", f"a {number}"] if number % 10 else [f"q {number}"])
    (tmp_path / "t.csv").write_text(buffer.getvalue(), newline="")
    runs = [read_rows(tmp_path, qa, size) for size in (7, 101, 1000)]
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 101
    assert sum(row["reason"] == "unreadable" for row in runs[0]) == 11
    assert len({row["id"] for row in runs[0]}) == 101


def test_rows_that_an_unclosed_quote_swallowed_come_back(table: Any) -> None:
    """Nothing else in the file is quoted: without proof by their delimiters, all rows below would be one reject."""
    lines = "".join(f"q {number},a {number}\n" for number in range(1000))
    rows = table(f'question,answer\n"never closed,x\n{lines}')
    assert outcome(rows)[:2] == [(2, "unreadable", ""), (3, None, "q 0")]
    assert len(rows) == 1001
    rows = table(f'question,answer\n"never closed,x\n{lines}y,stray"\nz,z\n')
    assert len(rows) == 1003
    assert outcome(rows)[-2:] == [(1003, None, "y"), (1004, None, "z")]


def test_prose_in_a_damaged_record_is_not_taken_for_rows(table: Any) -> None:
    prose = "Dear all,\n\nthe card, I think, is lost.\nThanks, Anna\nSales, Berlin\n\nPS: no, really\n"
    assert outcome(table(f'question,answer\na,b\n"{prose}')) == [(2, None, "a"), (3, "unreadable", "")]
    assert outcome(table(f'question,answer\n"{prose}",b,c\nd,e\n')) == [(2, "unreadable", ""), (10, None, "d")]


def test_a_wide_table_gives_back_a_single_swallowed_row(table: Any) -> None:
    more = ",".join("cdefghij")
    rows = table(f'question,answer,{more}\n"a,b,{more}\nx,y,{more}\n"q",b,{more}\n')
    assert outcome(rows) == [(2, "unreadable", ""), (3, None, "x"), (4, None, "q")]


def test_a_stray_quote_in_a_later_line_does_not_make_a_row_of_the_rest(table: Any) -> None:
    rows = table('question,answer\n"x\ny" foo,b\nc,d\n')
    assert outcome(rows) == [(2, "unreadable", ""), (4, None, "c")]


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n', "\nsep=;\n"])
def test_excel_names_the_delimiter_in_the_first_line(table: Any, first: str) -> None:
    rows = table(f"{first}question;answer;of,a,b,c\nHow?;So;1\n".encode("cp1252"))
    assert outcome(rows) == [(2 + first.count("\n"), None, "How?")]
    assert outcome(table("sep=|\nquestion|answer\nHow?|So\n")) == [(3, None, "How?")]


def test_a_line_above_the_bound_is_one_damaged_record(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.read.inputs.open_inputs.MAX_LINE", 1000)
    monkeypatch.setattr("pipeline.read.inputs.open_inputs.TEXT", 64)
    for end in ("\n", "\r\n", "\r"):
        for length in (970, 999, 1000, 1001, 1500, 5000):
            long = f"{'x' * length},b{end}"
            rows = table(f"question,answer{end}a,b{end}{long}c,d{end}")
            fits = len(long) <= 1000
            assert outcome(rows) == [
                (2, None, "a"),
                (3, *((None, "x" * length) if fits else ("unreadable", ""))),
                (4, None, "c"),
            ]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_record_above_the_bound_ends_at_the_bound(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Quotes out of step can make one record of a whole file, of short fields; and blocks make no difference."""
    monkeypatch.setattr("pipeline.read.tables.csvfile.MAX_RECORD", 30)
    lines = ["q,a\n", "a,b\n", '"c\n', *['x","y\n'] * 12, '"e","f"\n', "h,i\n"]
    blocks = ["".join(lines[at : at + size]) for at in range(0, len(lines), size)]
    found = list(records(blocks, ",", 2))
    assert found == list(records(lines, ",", 2))
    assert found[:3] == [(1, ["q", "a"]), (2, ["a", "b"]), (3, None)]
    assert [line for line, fields in found if fields is None] == [3, 9, 15]
    assert found[-2:] == [(16, ["e", "f"]), (17, ["h", "i"])]
