"""The run folder, local and on an object store: whole files or none, finished stages or unfinished ones."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import IntegrityError, MissingStageError, StorageError, UserError
from pipeline.run import Run, fingerprint
from pipeline.storage import refuse_credentials, storage_errors


@pytest.fixture
def local(tmp_path: Path) -> Run:
    return Run.open(str(tmp_path / "run"))


@pytest.fixture(params=["local", "s3"])
def run(request: Any, tmp_path: Path) -> Run:
    """A run folder on each kind of filesystem: the contract is the same."""
    if request.param == "local":
        return Run.open(str(tmp_path / "run"))
    store = request.getfixturevalue("store")
    return Run.open(store.uri(f"bucket/{tmp_path.parent.name}/{tmp_path.name}"))


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


def test_a_missing_or_short_output_makes_the_stage_unfinished(run: Run) -> None:
    finish(run)
    whole = run.read_bytes("stages/read/a.parquet")
    run.write_bytes("stages/read/a.parquet", whole[:-1])
    assert run.manifest("read", "k") is None
    run.write_bytes("stages/read/a.parquet", whole)
    assert run.manifest("read", "k") is not None
    run.delete("stages/read/a.parquet")
    assert run.manifest("read", "k") is None


def test_a_damaged_manifest_is_an_error_not_a_finished_stage(run: Run) -> None:
    finish(run)
    run.write_bytes("stages/read/_manifest.json", b"{")
    with pytest.raises(IntegrityError, match="not JSON"):
        run.manifest("read")


def test_files_are_listed_read_and_deleted_below_their_folder_only(run: Run) -> None:
    for name in ("data/train/b.parquet", "data/train/a.parquet", "data/train/deep/c.parquet", "data/train2/d.parquet"):
        run.write_table(name, pa.table({"x": [1, 2]}))
    assert run.list("data/train") == ["data/train/a.parquet", "data/train/b.parquet"]
    assert run.list("data/none") == []
    assert run.count_rows("data/train/a.parquet") == 2
    assert run.read_table("data/train/a.parquet", columns=["x"], filters=[("x", ">", 1)]).num_rows == 1
    assert run.size("data/train") is None
    assert run.size("data/train/none") is None
    run.delete("data/train")
    run.delete("data/train")
    assert not run.exists("data/train")
    assert run.exists("data/train2/d.parquet")
    with pytest.raises(FileNotFoundError):
        run.read_bytes("data/train/a.parquet")


def test_a_run_folder_that_is_opened_again_is_the_same(run: Run) -> None:
    finish(run)
    assert Run.open(run.uri).manifest("read", "k") is not None
    large = bytes(range(256)) * (6 << 12)  # above what an object store takes in one request
    assert run.write_bytes("large", large) == len(large)
    assert Run.open(run.uri).read_bytes("large") == large


def test_require_names_the_job_to_run(run: Run) -> None:
    with pytest.raises(MissingStageError, match=r"jobs\.curate"):
        run.require("curate")


def test_a_failed_write_leaves_the_old_file_and_no_temporary(local: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    local.write_bytes("metrics/a.json", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.storage.os.fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        local.write_bytes("metrics/a.json", b"new")
    monkeypatch.undo()
    assert local.read_bytes("metrics/a.json") == b"old"
    assert [path.name for path in local.local("metrics").iterdir()] == ["a.json"]


def test_what_a_killed_process_left_half_written_is_gone_at_the_next_begin(local: Run) -> None:
    finish(local)
    left = [local.local("metrics/.a.json.0a1b2c3d.tmp"), local.local("data/train/.part-0.parquet.ffffffff.tmp")]
    kept = [local.local("metrics/a.json"), local.local(".a.tmp"), local.local("data/train/a.0a1b2c3d.tmp")]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    local.begin("screen", "k")
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    assert local.manifest("read", "k") is not None


def test_the_same_table_gives_the_same_bytes_whatever_its_chunks(run: Run) -> None:
    whole = pa.table({"x": list(range(10))})
    run.write_table("a.parquet", whole)
    run.write_table("b.parquet", pa.concat_tables([whole.slice(0, 3), whole.slice(3)]))
    assert run.read_bytes("a.parquet") == run.read_bytes("b.parquet")


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Run.open(str(tmp_path / "file" / "run"))


def test_a_run_on_another_filesystem_has_no_local_folder() -> None:
    with pytest.raises(UserError, match="not a local folder"):
        Run("mock://bucket/run").local()


def test_a_bucket_that_is_not_there_is_one_sentence(store: Any) -> None:
    with pytest.raises(StorageError) as caught:
        Run.open(store.uri("nowhere/run"))
    assert str(caught.value) == f"cannot write {store.uri('nowhere/run')}: Bucket 'nowhere' not found"
    with pytest.raises(StorageError, match=r"cannot write s3://nowhere/a/b\?.*: NO_SUCH_BUCKET: .* not exist$"):
        Run(store.uri("nowhere/a")).write_bytes("b", b"x")


def test_an_object_store_that_refuses_for_a_moment_is_asked_again(store: Any) -> None:
    run = Run.open(store.uri("bucket/moment"))
    store.refusals += [("PUT", "/moment/a", 503), ("PUT", "/moment/a", 500)]
    run.write_bytes("a", b"new")
    assert not store.refusals
    assert run.read_bytes("a") == b"new"


def test_an_upload_that_fails_leaves_the_old_object(store: Any) -> None:
    run = Run.open(store.uri("bucket/fails"))
    run.write_bytes("a", b"old")
    large = b"x" * (12 << 20)
    store.refusals += [("PUT", "partNumber=2", 403)] * 9
    with pytest.raises(StorageError, match=r"cannot write s3://bucket/fails/a\?endpoint"):
        run.write_bytes("a", large)
    store.refusals.clear()
    assert run.read_bytes("a") == b"old"
    run.write_bytes("a", large)
    assert run.read_bytes("a") == large


def test_a_finished_stage_is_checked_with_few_requests(store: Any) -> None:
    run = Run.open(store.uri("bucket/many"))
    stage = run.begin("read", "k")
    for number in range(20):
        run.put(stage, f"stages/read/{number}.parquet", pa.table({"x": [number]}))
    run.commit(stage, inputs=1, rows={})
    store.requests.clear()
    assert run.manifest("read", "k") is not None
    assert len(store.requests) <= 20 + 4


@pytest.mark.parametrize(
    "place",
    [
        "s3://KEY:SEC%2FRET@bucket/x",
        "s3://KEY:SEC/RET@bucket/x",
        "s3://KEY@bucket/x",
        "abfss://account:SECRET@host/x",
        "abfss://files@account.dfs.core.windows.net/x?client_secret=SECRET",
        "abfss://files@account/x?sv=1&sig=SECRET",
    ],
)
def test_a_place_with_credentials_is_refused_without_quoting_it(place: str) -> None:
    with pytest.raises(UserError, match="set AWS_ACCESS_KEY_ID") as caught:
        Run.open(place)
    assert not any(part in str(caught.value) for part in ("KEY:", "KEY@", "SEC/", "RET@", "=SECRET", ":SECRET"))


@pytest.mark.parametrize(
    "place", ["/a:b@c", "s3://b/a:b@c", "gs://anonymous@b/x", "abfss://files@account/x", "hdfs://me@h:1/x"]
)
def test_a_place_without_credentials_passes(place: str) -> None:
    refuse_credentials(place)


def test_other_errors_pass_storage_errors() -> None:
    with pytest.raises(OSError, match="odd"), storage_errors("x"):
        raise OSError(errno.EIO, "odd")


def test_fingerprints_follow_content() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint("a") != fingerprint("b")
