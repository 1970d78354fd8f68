"""The run folder: whole files or none, finished stages or unfinished ones."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import IntegrityError, MissingStageError, StorageError, UserError
from pipeline.run import Run, code_version, fingerprint, model_version, storage_errors


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(str(tmp_path / "run"))


def finish(run: Run, key: str = "k") -> None:
    stage = run.begin("read", key)
    run.put(stage, "stages/read/a.parquet", pa.table({"x": [1]}))
    run.commit(stage, inputs=1, rows={"a": 1})


def test_a_committed_stage_is_finished_under_its_key_only(run: Run) -> None:
    assert run.manifest("read") is None
    finish(run)
    manifest = run.manifest("read", "k")
    assert manifest is not None
    assert manifest["rows"] == {"a": 1}
    assert run.manifest("read", "other") is None


def test_a_stage_is_unfinished_from_begin_until_commit(run: Run) -> None:
    finish(run)
    run.begin("read", "k")
    assert run.manifest("read") is None
    assert not run.exists("stages/read/a.parquet")


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-1])])
def test_a_missing_or_short_output_makes_the_stage_unfinished(run: Run, damage: Any) -> None:
    finish(run)
    damage(run.local("stages/read/a.parquet"))
    assert run.manifest("read", "k") is None


def test_a_damaged_manifest_is_an_error_not_a_finished_stage(run: Run) -> None:
    finish(run)
    run.local("stages/read/_manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match="not JSON"):
        run.manifest("read")


def test_require_names_the_job_to_run(run: Run) -> None:
    with pytest.raises(MissingStageError, match=r"jobs\.curate"):
        run.require("curate")


def test_a_failed_write_leaves_the_old_file_and_no_temporary(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_bytes("metrics/a.json", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.run.os.fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        run.write_bytes("metrics/a.json", b"new")
    monkeypatch.undo()
    assert run.read_bytes("metrics/a.json") == b"old"
    assert [path.name for path in run.local("metrics").iterdir()] == ["a.json"]


def test_the_same_table_gives_the_same_bytes_whatever_its_chunks(run: Run) -> None:
    whole = pa.table({"x": list(range(10))})
    run.write_table("a.parquet", whole)
    run.write_table("b.parquet", pa.concat_tables([whole.slice(0, 3), whole.slice(3)]))
    assert run.read_bytes("a.parquet") == run.read_bytes("b.parquet")


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Run.open(str(tmp_path / "file" / "run"))


def test_a_run_on_another_filesystem_reads_and_writes_but_has_no_local_folder() -> None:
    run = Run("mock://bucket/run")
    with pytest.raises(UserError, match="not a local folder"):
        run.local()


def test_other_errors_pass_storage_errors() -> None:
    with pytest.raises(OSError, match="odd"), storage_errors("x"):
        raise OSError(errno.EIO, "odd")


def test_fingerprints_follow_content(tmp_path: Path) -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint("a") != fingerprint("b")
    assert code_version("schema.py") != code_version("run.py")
    model = tmp_path / "model"
    model.mkdir()
    (model / "w").write_text("1")
    before = model_version(str(model))
    (model / "w").write_text("2")
    assert model_version(str(model)) != before
    assert model_version("org/model") == "org/model"
