"""Excel workbooks: sheets, numbers, title lines, names that lie, workbooks that are too large or broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Columns, Read, TableSource
from pipeline.errors import InputError
from pipeline.read import discover
from pipeline.read.tables import workbook
from tests.read import excel

TICKETS = [["question", "answer"], ["How?", "So"], ["Why?", "Because"]]


def said(place: Path, settings: Read) -> str:
    with pytest.raises(InputError) as caught:
        discover([str(place)], settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_have_the_numbers_that_excel_shows(tmp_path: Path, read_rows: Any) -> None:
    rows = {3: ["Report of 2026"], 5: ["key", "question", "answer"], 6: [20000010, "How?", "So"], 9: [1.5, "Why?", 7]}
    (tmp_path / "t.xlsx").write_bytes(excel.workbook({"Tickets": rows}))
    columns = Columns(prompt="question", response="answer", source_id="key")
    found = read_rows(tmp_path, Read(tables=(TableSource(match="t.xlsx", columns=columns),)))
    assert [(row["line"], row["source_id"], row["prompt"], row["response"]) for row in found] == [
        (6, "20000010", "How?", "So"),
        (9, "1.5", "Why?", "7"),
    ]
    assert {(row["source"], row["path"]) for row in found} == {("t", "t.xlsx")}


def test_sheets_are_tables_of_their_own_and_others_are_named(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    sheets = {"May": TICKETS, "Notes": [["Anna", "out"]], "Empty": [], "June": TICKETS[:2]}
    (tmp_path / "t.xlsx").write_bytes(excel.workbook(sheets))
    found = discover([str(tmp_path)], qa)
    assert [(file.path, file.source) for file in found.files] == [("t.xlsx/June", "t/June"), ("t.xlsx/May", "t/May")]
    assert [file.path for file in found.left_out] == ["t.xlsx/Notes"]
    assert [row["prompt"] for row in read_rows(tmp_path, qa)] == ["How?", "How?", "Why?"]
    only = Read(tables=(qa.tables[0].model_copy(update={"part": "May"}),))
    assert [file.path for file in discover([str(tmp_path)], only).files] == ["t.xlsx/May"]
    missing = Read(tables=(qa.tables[0].model_copy(update={"part": "July"}),))
    assert "has no sheet `July`; it has `May`, `Notes`, `June`" in said(tmp_path, missing)


def test_a_workbook_of_other_things_is_one_sentence(tmp_path: Path, qa: Read) -> None:
    (tmp_path / "t.xlsx").write_bytes(excel.workbook({"Notes": [["Anna", "out"]]}))
    assert "has no column `question`, `answer`; its columns are `Anna`, `out`" in said(tmp_path, qa)


def test_names_that_lie(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    (tmp_path / "a.csv").write_bytes(excel.workbook({"Sheet1": TICKETS}))
    (tmp_path / "b.xlsx").write_text("question;answer\nHow?;So\n")
    assert [(row["path"], row["prompt"]) for row in read_rows(tmp_path, qa)] == [
        ("a.csv", "How?"),
        ("a.csv", "Why?"),
        ("b.xlsx", "How?"),
    ]
    (tmp_path / "b.xlsx").write_text("<html><table><tr><td>question</td></tr></table></html>")
    assert "b.xlsx is no workbook but HTML or XML" in said(tmp_path, qa)


@pytest.mark.parametrize("cut", [10, 200, 700, -30])
def test_a_workbook_that_breaks_off(tmp_path: Path, qa: Read, cut: int) -> None:
    (tmp_path / "t.xlsx").write_bytes(excel.workbook({"Sheet1": TICKETS})[:cut])
    assert "t.xlsx" in said(tmp_path, qa)


def test_a_cell_far_outside_would_make_a_rectangle_of_billions(tmp_path: Path, qa: Read) -> None:
    rows = {1: TICKETS[0], 2: TICKETS[1], 1_048_576: [None] * 16_383 + ["x"]}
    (tmp_path / "t.xlsx").write_bytes(excel.workbook({"Sheet1": rows}))
    assert "has a cell far outside its table: save it as CSV" in said(tmp_path, qa)


def test_a_sheet_larger_than_the_bound(tmp_path: Path, qa: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "LARGEST", 100)
    (tmp_path / "t.xlsx").write_bytes(excel.workbook({"Sheet1": TICKETS}))
    assert "is too large for a workbook" in said(tmp_path, qa)


def test_an_empty_workbook_is_one_reject(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    (tmp_path / "t.xlsx").write_bytes(excel.workbook({"Sheet1": []}))
    (tmp_path / "u.csv").write_text("question,answer\na,b\n")
    assert [(row["path"], row["reason"]) for row in read_rows(tmp_path, qa)] == [
        ("t.xlsx", "unreadable"),
        ("u.csv", None),
    ]
