"""JSON documents: arrays, wrappers, names that lie, documents that break off."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Columns, Read, TableSource
from pipeline.errors import InputError
from pipeline.read import discover
from pipeline.read.tables import json_documents

ROWS = [{"question": "How?", "answer": "So"}, {"question": "Wie?", "answer": "Größe [1], {2}"}]


@pytest.fixture
def table(tmp_path: Path, read_rows: Any, qa: Read) -> Any:
    def work(content: bytes | str, name: str = "t.json", settings: Read = qa) -> list[tuple[int, str | None, str]]:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return [(row["line"], row["reason"], row["prompt"]) for row in read_rows(tmp_path / name, settings)]

    return work


def said(place: Path, settings: Read) -> str:
    with pytest.raises(InputError) as caught:
        discover([str(place)], settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.ndjson"])
@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize(
    "around", ["{0}", '{{"count": 2, "next": null, "tickets": {0}}}', '{{"data": {{"rows": {0}}}}}']
)
def test_arrays_and_wrappers(table: Any, name: str, indent: int | None, around: str) -> None:
    text = around.format(json.dumps(ROWS, indent=indent, ensure_ascii=False))
    assert table(text, name) == [(1, None, "How?"), (2, None, "Wie?")]
    assert table("\ufeff" + text, name) == [(1, None, "How?"), (2, None, "Wie?")]
    assert table(text.encode("utf-16"), name) == [(1, None, "How?"), (2, None, "Wie?")]


def test_lines_in_a_json_file_and_objects_one_after_the_other(table: Any) -> None:
    assert table("".join(json.dumps(row) + "\n" for row in ROWS)) == [(1, None, "How?"), (2, None, "Wie?")]
    assert table("\n".join(json.dumps(row, indent=1) for row in ROWS)) == [(1, None, "How?"), (2, None, "Wie?")]
    assert table(json.dumps(ROWS[0])) == [(1, None, "How?")]


def test_elements_that_are_no_objects_are_rejects(table: Any) -> None:
    text = json.dumps([ROWS[0], None, "x", [1], {"question": "nul \0", "answer": "y"}, {"question": "?"}, ROWS[1]])
    assert [reason for _, reason, _ in table(text)] == [
        None,
        "unreadable",
        "unreadable",
        "unreadable",
        "unreadable",
        "empty_response",
        None,
    ]


def test_a_bad_byte_costs_its_own_object_only(table: Any) -> None:
    text = json.dumps([*ROWS, ROWS[1]], ensure_ascii=False).encode()
    assert [reason for _, reason, _ in table(text.replace(b"Gr\xc3\xb6", b"Gr\xff", 1))] == [None, "unreadable", None]


def test_values_that_other_readers_refuse(table: Any) -> None:
    rows = table(
        '[{"question": "a", "answer": NaN, "n": 123456789012345678901234567890}, {"question": "b", "answer": 1}]'
    )
    assert [(line, prompt) for line, _, prompt in rows] == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    "content", ['[{"question": "a", "answer": "b"}, {"question": "c"', '{"tickets": [{"question": "a"']
)
def test_a_document_that_breaks_off(tmp_path: Path, qa: Read, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    assert "breaks off" in said(tmp_path, qa)


def test_text_that_is_no_json(tmp_path: Path, qa: Read) -> None:
    (tmp_path / "t.json").write_text(f"[{json.dumps(ROWS[0])}, {{'question': 'x'}}]")
    assert "is no JSON from character 40 on, after 1 object:" in said(tmp_path, qa)
    (tmp_path / "t.json").write_text("[" * 100_000)
    assert "t.json" in said(tmp_path, qa)


def test_of_several_lists_the_one_with_the_columns_is_read(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    users = [{"name": "Anna"}] * 5
    (tmp_path / "t.json").write_text(json.dumps({"users": users, "tickets": ROWS, "tags": ["a", "b"]}))
    found = discover([str(tmp_path)], qa)
    assert [file.part for file in found.files] == ["tickets"]
    assert [file.path for file in found.left_out] == ["t.json/users"]
    other = Read(tables=(TableSource(match="*", columns=Columns(prompt="name", response="name"), part="users"),))
    assert len(read_rows(tmp_path, other)) == 5
    missing = Read(tables=(TableSource(match="*", columns=Columns(prompt="name", response="name"), part="agents"),))
    assert "has no list of objects `agents`; it has `users`, `tickets`" in said(tmp_path, missing)


def test_blocks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_ = random.Random(1)
    rows: list[Any] = [{"n": random_.random() * 10**9, "t": "x" * random_.randint(0, 90)} for _ in range(200)]
    rows[7] = 12345
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"a": {"b": rows}}))
    for size in (1, 7, 64, 1 << 18):
        monkeypatch.setattr(json_documents, "TEXT", size)
        found = list(json_documents.objects(str(path), "utf-8", "a.b"))
        assert [value for _, value in found] == [row if isinstance(row, dict) else None for row in rows]
        assert [number for number, _ in found] == list(range(1, 201))


def test_an_object_without_end_is_bounded(tmp_path: Path, qa: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_documents, "MAX_LINE", 1000)
    monkeypatch.setattr(json_documents, "TEXT", 100)
    (tmp_path / "t.json").write_text('[{"question": "' + "x" * 10_000 + '"}]')
    assert "is no JSON from character 2 on" in said(tmp_path, qa)


def test_compressed_documents(table: Any) -> None:
    assert table(gzip.compress(json.dumps(ROWS).encode()), "t.json.gz") == [(1, None, "How?"), (2, None, "Wie?")]
    assert table(gzip.compress(json.dumps(ROWS).encode()), "t.gz") == [(1, None, "How?"), (2, None, "Wie?")]
