"""Files as disks, people and stores really have them: links, archives in disguise, names, ranges, URIs."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs as pafs

from pipeline.config import Read
from pipeline.errors import InputError, UserError
from pipeline.read import discover, read
from pipeline.read.inputs import open_inputs
from pipeline.read.inputs.left_out import LeftOut

TABLE = "question,answer\nHow?,So\n"


def refused(place: Path, settings: Read) -> str:
    with pytest.raises(UserError) as caught:
        discover([str(place)], settings)
    return str(caught.value)


def test_links_are_followed_but_not_in_circles(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    dump = tmp_path / "dump"
    (dump / "a").mkdir(parents=True)
    (dump / "b").mkdir()
    (dump / "a" / "t.csv").write_text(TABLE)
    (dump / "a" / "up").symlink_to(dump)
    (dump / "a" / "b").symlink_to(dump / "b")
    (dump / "b" / "a").symlink_to(dump / "a")
    (dump / "self").symlink_to(dump / "self")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "u.csv").write_text(TABLE)
    (dump / "more").symlink_to(tmp_path / "elsewhere")
    rows = read_rows(dump, qa)
    assert sorted(row["path"] for row in rows) == ["a/t.csv", "b/a/t.csv", "more/u.csv"]


def test_a_link_to_nothing_is_not_passed_over(tmp_path: Path, qa: Read) -> None:
    (tmp_path / "t.csv").write_text(TABLE)
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    assert "gone.csv is a link to a file that does not exist" in refused(tmp_path, qa)


def test_folders_and_pipes_with_a_files_name(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    (tmp_path / "x.csv").mkdir()
    (tmp_path / "x.csv" / "t.csv").write_text(TABLE)
    os.mkfifo(tmp_path / "pipe.csv")
    assert [row["path"] for row in read_rows(tmp_path, qa)] == ["x.csv/t.csv"]
    assert discover([str(tmp_path)], qa).left_out == (LeftOut("pipe.csv", "neither a file nor a folder"),)
    assert "neither a file nor a folder" in refused(tmp_path / "pipe.csv", qa)


def test_archives_in_disguise(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(gzip.compress(TABLE.encode()))
    assert [(row["path"], row["line"], row["prompt"]) for row in read_rows(tmp_path, qa)] == [("t.csv", 2, "How?")]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("u.csv", TABLE)
    assert [(row["path"], row["source"]) for row in read_rows(tmp_path, qa)] == [("t.csv/u.csv", "t.csv/u")]
    path.write_bytes(b"%PDF-1.7 and so on")
    assert "t.csv is not a text but a PDF" in refused(tmp_path, qa)


def test_a_name_that_is_not_text(tmp_path: Path, qa: Read) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")).write_text(TABLE)
    message = refused(tmp_path, qa)
    assert "not valid UTF-8" in message
    message.encode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path: Path, qa: Read) -> None:
    (tmp_path / "t.csv").write_text(TABLE)
    (tmp_path / "t.csv").chmod(0)
    assert "cannot read" in refused(tmp_path, qa)


def test_a_file_that_shrinks_or_grows_while_it_is_read(tmp_path: Path, qa: Read) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TABLE * 3)
    (file,) = discover([str(path)], qa).files
    path.write_text(TABLE * 9)
    assert sum(part.num_rows for part in read(file, qa)) == 5  # what was there when it was found
    path.write_text(TABLE)
    with pytest.raises(InputError, match="has become shorter"):
        list(read(file, qa))


def test_the_same_rows_in_two_files_are_both_read(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    for number in range(100):
        (tmp_path / f"t{number:02}.csv").write_text(TABLE)
    rows = read_rows(tmp_path, qa)
    assert len(rows) == 100
    assert len({row["id"] for row in rows}) == 1
    assert len({row["source"] for row in rows}) == 100


def test_a_uris_query_stays_with_every_file_below_it() -> None:
    root = "s3://bucket/my dump?endpoint_override=127.0.0.1:5000&scheme=http&region=eu-central-1"
    uri = open_inputs.below(root.replace(" ", "%20"), "de/a b#1?.csv")
    assert uri == (
        "s3://bucket/my%20dump/de/a%20b%231%3F.csv?endpoint_override=127.0.0.1:5000&scheme=http&region=eu-central-1"
    )
    filesystem, path = open_inputs.locate(uri)
    assert isinstance(filesystem, pafs.S3FileSystem)
    assert path == "bucket/my dump/de/a b#1?.csv"


def test_credentials_in_a_place_are_refused_and_not_quoted() -> None:
    with pytest.raises(UserError) as caught:
        discover(["s3://key:verysecret@bucket/dump"], Read())
    assert "verysecret" not in str(caught.value)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a store that is not the local disk: `mock://bucket/…?region=x`."""
    filesystem = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())

    def locate(uri: str) -> tuple[pafs.FileSystem, str]:
        assert uri.startswith("mock://")
        assert uri.endswith("?region=x")
        return filesystem, uri.removeprefix("mock://").removesuffix("?region=x").rstrip("/")

    for module in ("open_inputs", "walk"):
        monkeypatch.setattr(f"pipeline.read.inputs.{module}.locate", locate)
    return tmp_path


def test_a_store_that_is_not_the_local_disk(store: Path, qa: Read) -> None:
    (store / "bucket" / ".hidden").mkdir(parents=True)
    (store / "bucket" / "sub").mkdir()
    lines = "".join(f'q{number},"a\n{number}"\n' for number in range(100))
    (store / "bucket" / "sub" / "t.csv").write_text(f"question,answer\n{lines}")
    (store / "bucket" / ".hidden" / "t.csv").write_text(TABLE)
    (file,) = discover(["mock://bucket?region=x"], qa).files
    assert (file.uri, file.path) == ("mock://bucket/sub/t.csv?region=x", "sub/t.csv")
    from pipeline.read import pieces

    ranges = pieces(file, size=300)
    assert len(ranges) > 2
    found = [row["prompt"] for piece in ranges for part in read(piece, qa) for row in part.to_pylist()]
    assert found == [f"q{number}" for number in range(100)]
    (again,) = discover(["mock://bucket/sub/t.csv?region=x"], qa).files
    assert (again.path, again.digest) == ("t.csv", file.digest)
