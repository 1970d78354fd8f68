"""Archives and compressed files: what is inside is read as if it were unpacked, and nothing else happens."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.config import Read
from pipeline.errors import InputError
from pipeline.read import discover, pieces, read
from pipeline.read.inputs import archives, open_inputs
from pipeline.read.inputs.open_inputs import Member
from tests.read import excel

TABLE = b"question,answer\nHow?,So\nWhy?,Because\n"
PAGE = b"# Cards\n\nBlock them in the app.\n"


def packed(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


def said(place: Path, settings: Read) -> str:
    with pytest.raises(InputError) as caught:
        discover([str(place)], settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstd), (".GZ", gzip.compress)])
def test_a_compressed_table(tmp_path: Path, read_rows: Any, qa: Read, suffix: str, pack: Any) -> None:
    (tmp_path / f"t.csv{suffix}").write_bytes(pack(TABLE[:20]) + pack(TABLE[20:]))  # of two pieces, as `cat` makes them
    rows = read_rows(tmp_path, qa)
    assert [(row["path"], row["line"], row["prompt"]) for row in rows] == [
        (f"t.csv{suffix}", 2, "How?"),
        (f"t.csv{suffix}", 3, "Why?"),
    ]
    assert {row["source"] for row in rows} == {"t"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_is_a_folder(tmp_path: Path, read_rows: Any, qa: Read, method: int) -> None:
    inner = packed({"b/u.jsonl": b'{"question": "a", "answer": "b"}\n' * 2})
    files = {
        "t.csv": TABLE,
        "wiki/Cards.md": PAGE,
        "wiki/x.png": b"\x89PNG",
        "__MACOSX/._t.csv": b"\0",
        ".DS_Store": b"x",
        "more.zip": inner,
        "v.csv.gz": gzip.compress(TABLE),
        "w.xlsx": excel.workbook({"A": [["question", "answer"], ["x", "y"]]}),
    }
    (tmp_path / "export.zip").write_bytes(packed(files, method))
    found = discover([str(tmp_path)], qa)
    assert [(file.path, file.source, file.format) for file in found.files] == [
        ("export.zip/wiki/Cards.md", "export", "markdown"),
        ("export.zip/more.zip/b/u.jsonl", "export/more/b/u", "jsonl"),
        ("export.zip/t.csv", "export/t", "csv"),
        ("export.zip/v.csv.gz", "export/v", "csv"),
        ("export.zip/w.xlsx", "export/w", "xlsx"),
    ]
    assert [file.path for file in found.left_out] == ["export.zip/wiki/x.png"]
    assert pickle.loads(pickle.dumps(found)) == found
    assert isinstance(pickle.loads(pickle.dumps(found)).files[1].uri.container, Member)
    assert len(read_rows(tmp_path, qa)) == 8
    assert read_rows(tmp_path / "export.zip", qa) == read_rows(tmp_path, qa)


def test_the_rows_of_an_archive_are_those_of_its_folder(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    lines = "".join(f'q{number},"a\n{number}"\n' for number in range(1000))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "t.csv").write_text(f"question,answer\n{lines}")
    (tmp_path / "b.zip").write_bytes(packed({"t.csv": (tmp_path / "a" / "t.csv").read_bytes()}))
    plain, inside = read_rows(tmp_path / "a", qa), read_rows(tmp_path / "b.zip", qa)
    names = ("id", "line", "prompt", "response", "reason")
    assert [[row[name] for name in names] for row in inside] == [[row[name] for name in names] for row in plain]
    (file,) = discover([str(tmp_path / "b.zip")], qa).files
    assert pieces(file, size=100) == [file]  # what is packed cannot be read from its middle
    assert file.digest == discover([str(tmp_path / "a")], qa).files[0].digest


def test_what_is_broken_is_said_in_one_sentence(tmp_path: Path, qa: Read) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TABLE * 100)[:-10])
    assert "t.csv.gz is damaged or not complete (Truncated compressed stream)" in said(tmp_path, qa)
    path.write_bytes(gzip.compress(TABLE * 100)[:-8] + b"\0" * 8)
    assert "t.csv.gz is damaged or not complete" in said(tmp_path, qa)
    path.write_bytes(TABLE)
    assert "is neither a ZIP archive nor compressed" in said(tmp_path, qa)
    path.unlink()
    whole = packed({"t.csv": TABLE * 1000, "u.csv": TABLE})
    for content in (whole[:-10], whole[: len(whole) // 2], whole[:40]):
        (tmp_path / "e.zip").write_bytes(content)
        assert "e.zip is damaged or not complete" in said(tmp_path, qa)
    (tmp_path / "e.zip").write_bytes(whole.replace(whole[60:70], b"\xff" * 10, 1))
    assert "e.zip is damaged or not complete" in said(tmp_path, qa)


def test_nothing_in_it(tmp_path: Path, qa: Read) -> None:
    (tmp_path / "e.zip").write_bytes(packed({}))
    assert "e.zip is an archive with nothing in it" in said(tmp_path, qa)
    (tmp_path / "e.zip").write_bytes(packed({"x.png": b"x", "y.docx": packed({"word/document.xml": b"x"})}))
    assert "e.zip/x.png is a picture" in said(tmp_path, qa)
    (tmp_path / "e.zip").write_bytes(packed({"t.csv": b""}))
    assert "every file is empty" in said(tmp_path, qa)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b""))
    assert "every file is empty" in said(tmp_path, qa)


def test_a_protected_archive(tmp_path: Path, qa: Read) -> None:
    content = bytearray(packed({"t.csv": TABLE}, zipfile.ZIP_STORED))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1  # the flag that says so
    (tmp_path / "e.zip").write_bytes(content)
    assert "e.zip is protected by a password: give it unpacked" in said(tmp_path, qa)


def test_what_grows_without_end_is_stopped(tmp_path: Path, qa: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL", 1 << 16)
    monkeypatch.setattr(archives, "GROWTH", 10)
    bomb = b"question,answer\n" + b"a,b\n" * (1 << 18)
    for name, content in (
        ("t.csv.gz", gzip.compress(bomb)),
        ("t.csv.zst", zstd(bomb)),
        ("e.zip", packed({"t.csv": bomb})),
        ("e.zip", packed({"f.zip": packed({"t.csv": bomb})})),
        ("e.zip", packed({f"{n}.csv": bomb[: 1 << 14] for n in range(9)})),
        ("e.zip", packed({"f.zip": packed({"x": bomb}, zipfile.ZIP_STORED)})),
    ):
        (tmp_path / name).write_bytes(content)
        assert "grows to more than 10 times its size" in said(tmp_path / name, qa)
    monkeypatch.setattr(archives, "GROWTH", 10_000)
    assert len(discover([str(tmp_path / "t.csv.gz")], qa).files) == 1


def test_archives_in_archives_without_end(tmp_path: Path, qa: Read) -> None:
    content = packed({"t.csv": TABLE})
    for _ in range(archives.DEEPEST):
        content = packed({"e.zip": content})
    (tmp_path / "e.zip").write_bytes(content)
    assert "is an archive inside of 4 others: unpack it" in said(tmp_path, qa)


def test_names_that_lead_out_of_the_archive_lead_nowhere(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "e.zip").write_bytes(packed({"../t.csv": TABLE, "/etc/u.csv": TABLE, "b\\v.csv": TABLE}))
    assert len(read_rows(tmp_path, qa)) == 6
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "e.zip"]
    (tmp_path / "a" / "e.zip").write_bytes(packed({"a\nb.csv": TABLE}))
    assert "holds control characters" in said(tmp_path, qa)


def test_an_archive_that_changes_is_opened_anew(tmp_path: Path, qa: Read) -> None:
    path = tmp_path / "e.zip"
    for number in range(3):
        path.write_bytes(packed({"t.csv": TABLE + b"x,y\n" * number}, zipfile.ZIP_STORED))
        (file,) = discover([str(path)], qa).files
        assert sum(part.num_rows for part in read(file, qa)) == 2 + number


def test_what_is_ignored_is_named(tmp_path: Path, qa: Read) -> None:
    (tmp_path / "e.zip").write_bytes(packed({"t.csv": TABLE, "old/u.csv": TABLE, "old/v.md": PAGE}))
    (tmp_path / "u.tmp.csv").write_bytes(TABLE)
    (tmp_path / "w.md").write_bytes(PAGE)
    found = discover([str(tmp_path)], qa.model_copy(update={"ignore": ("e.zip/old/*", "*.tmp.csv")}))
    assert [file.path for file in found.files] == ["e.zip/t.csv", "w.md"]
    assert [(file.path, file.why) for file in found.left_out] == [
        ("e.zip/old/u.csv", "matches curate.read.ignore"),
        ("e.zip/old/v.md", "matches curate.read.ignore"),
        ("u.tmp.csv", "matches curate.read.ignore"),
    ]


def test_names_that_are_empty_and_damage_of_every_method(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    content = packed({"t.csv": TABLE, "x.csv": TABLE}).replace(b"x.csv", b"/////")
    (tmp_path / "e.zip").write_bytes(content)
    assert [row["path"] for row in read_rows(tmp_path, qa)] == ["e.zip/t.csv"] * 2
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        whole = packed({"t.csv": TABLE * 100}, method)
        (tmp_path / "e.zip").write_bytes(whole[:60] + b"\xff" * 20 + whole[80:])
        assert "e.zip is damaged or not complete" in said(tmp_path, qa)


def test_an_archive_in_an_archive_that_does_not_fit_into_memory(
    tmp_path: Path, read_rows: Any, qa: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_inputs, "IN_MEMORY", 100)
    inner = packed({"t.csv": TABLE * 50, "u.csv": TABLE}, zipfile.ZIP_STORED)
    (tmp_path / "e.zip").write_bytes(packed({"f.zip": inner}))
    assert len(read_rows(tmp_path, qa)) == 3 * 50 + 1
