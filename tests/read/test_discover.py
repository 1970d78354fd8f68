"""What is found below the inputs, what it is called, and the one sentence for what cannot be read."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Columns, Read, TableSource
from pipeline.errors import InputError
from pipeline.read import discover

ZENDESK = "Id,Requester,Assignee,Subject,Description,Latest public comment\n1,A,B,S,D,C\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def refused(inputs: list[Path], settings: Read | None = None) -> str:
    with pytest.raises(InputError) as caught:
        discover([str(place) for place in inputs], settings or Read())
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_sources_paths_and_ignored(tmp_path: Path) -> None:
    write(
        tmp_path / "dumps",
        zendesk_dot_csv=ZENDESK,
        old__zendesk_dot_CSV=ZENDESK,
        pages__de__a_dot_md="# A\n\ntext",
        b_dot_markdown="# B\n\ntext",
        notes_dot_txt="x",
        _dot_hidden__c_dot_md="# C",
        pages___dot_d_dot_md="# D",
    )
    found = discover([str(tmp_path / "dumps")], Read())
    assert [(file.source, file.format, file.path) for file in found.files] == [
        ("dumps", "markdown", "b.markdown"),
        ("old/zendesk", "csv", "old/zendesk.CSV"),
        ("pages", "markdown", "pages/de/a.md"),
        ("zendesk", "csv", "zendesk.csv"),
    ]
    assert [file.layout for file in found.files] == ["", "zendesk", "", "zendesk"]
    assert [file.path for file in found.left_out] == ["notes.txt"]
    assert "name a page .md" in found.left_out[0].why
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_single_file_and_its_digest(tmp_path: Path) -> None:
    write(tmp_path, zendesk_dot_csv=ZENDESK, page_dot_md="# A\n\ntext")
    first = discover([str(tmp_path / "zendesk.csv"), str(tmp_path / "page.md")], Read()).files
    assert [(file.source, file.path, file.size > 0) for file in first] == [
        ("page", "page.md", True),
        ("zendesk", "zendesk.csv", True),
    ]
    write(tmp_path, zendesk_dot_csv=ZENDESK + "2,A,B,S,D,C\n")
    again = discover([str(tmp_path)], Read()).files
    assert again[1].digest != first[1].digest
    assert again[0].digest == first[0].digest


def test_uri(tmp_path: Path, read_rows: Any) -> None:
    write(tmp_path / "my dumps", zendesk_dot_csv=ZENDESK, pages__a_dot_md="# A\n\ntext")
    (tmp_path / "my dumps" / "pages" / "b (1)%.md").write_text("# B\n\ntext")
    rows = read_rows((tmp_path / "my dumps").as_uri())
    assert [(row["source"], row["path"]) for row in rows] == [
        ("pages", "pages/a.md"),
        ("pages", "pages/b (1)%.md"),
        ("zendesk", "zendesk.csv"),
    ]


def test_missing_input(tmp_path: Path) -> None:
    assert "does not exist" in refused([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="cannot open the input nonsense://x"):
        discover(["nonsense://x"], Read())
    with pytest.raises(InputError, match="--input"):
        discover([], Read())


def test_folder_without_files(tmp_path: Path) -> None:
    write(tmp_path, notes_dot_txt="x")
    message = refused([tmp_path])
    assert all(suffix in message for suffix in (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".md", ".mdx"))


def test_unknown_table_quotes_its_columns(tmp_path: Path) -> None:
    write(tmp_path, faq_dot_csv="Frage,Antwort\nsecret question,secret answer\n")
    message = refused([tmp_path])
    assert "faq.csv" in message
    assert "`Frage`, `Antwort`" in message
    assert "curate.read.tables" in message
    assert "secret" not in message


def test_wrong_column_map(tmp_path: Path) -> None:
    write(tmp_path, faq_dot_csv="question,answer,topic\na,b,c\n")
    columns = Columns(prompt="qestion", response="answer", label="nothing")
    message = refused([tmp_path], Read(tables=(TableSource(match="*.csv", columns=columns),)))
    assert "`qestion` (did you mean `question`?), `nothing`" in message
    assert "`question`, `answer`, `topic`" in message


def test_headers_that_cannot_be_used(tmp_path: Path, qa: Read) -> None:
    for header, said in (
        ("question,answer,answer", "two columns called `answer`"),
        (",,\n,,", "no column names"),
        ('"question,answer', "never closed"),
        ("q\0u,answer", "NUL"),
    ):
        assert said in refused([write(tmp_path, faq_dot_csv=f"{header}\n{'1,2,3' if header[0] != ',' else ''}\n")], qa)


def test_a_twin_column_that_is_not_read_does_no_harm(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    rows = read_rows(write(tmp_path, faq_dot_csv=",question,answer,Others,Others\n0,a,b,1,2\n"), qa)
    assert [(row["prompt"], row["response"]) for row in rows] == [("a", "b")]


def test_help_desk_export_without_conversation(tmp_path: Path) -> None:
    write(tmp_path, tickets_dot_csv="Id,Requester,Assignee,Subject,Status\n1,A,B,S,Open\n")
    message = refused([tmp_path])
    assert "Zendesk export without a column for the answer" in message
    assert "`latest public comment`" in message


def test_names_that_collide(tmp_path: Path) -> None:
    write(
        tmp_path, a__zendesk_dot_csv=ZENDESK, b__zendesk_dot_csv=ZENDESK, a__p_dot_md="# A\n\nx", b__p_dot_md="# A\n\nx"
    )
    assert "folder above" in refused([tmp_path / "a" / "zendesk.csv", tmp_path / "b" / "zendesk.csv"])
    assert "given twice" in refused([tmp_path, tmp_path / "a" / "zendesk.csv"])
    assert len(discover([str(tmp_path)], Read()).files) == 4
    write(tmp_path, a__zendesk_dot_tsv=ZENDESK)
    assert "rename one of them" in refused([tmp_path / "a"])


def test_empty_file_among_others_is_one_reject(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    write(
        tmp_path, empty_dot_csv="", blank_dot_jsonl="\n\n", none_dot_parquet="", full_dot_csv="question,answer\na,b\n"
    )
    rows = read_rows(tmp_path, qa)
    assert [(row["source"], row["line"], row["reason"]) for row in rows] == [
        ("blank", 1, "unreadable"),
        ("empty", 1, "unreadable"),
        ("full", 2, None),
        ("none", 1, "unreadable"),
    ]


def test_nothing_but_empty_files(tmp_path: Path) -> None:
    write(tmp_path, a_dot_csv="", b_dot_md="")
    assert "every file is empty" in refused([tmp_path])
