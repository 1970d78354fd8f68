"""What a job printed is in its run folder, its error too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from jobs import console
from pipeline import job_log, storage
from pipeline.errors import GateError, StorageError
from pipeline.run import Run


def text(path: Path) -> str:
    with pa.input_stream(str(path), compression="zstd") as stream:
        return bytes(stream.read()).decode()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(str(tmp_path))


def test_it_holds_what_was_shown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    shown = console()
    with job_log.kept(run, "train", shown):
        shown.print("Größe 1/2")
    (path,) = run.local("logs").iterdir()
    assert path.name.startswith("train-")
    assert path.name.endswith(".log.zst")
    assert text(path) == "Größe 1/2\n"
    assert capsys.readouterr().out == "Größe 1/2\n"
    with job_log.kept(run, "train", shown):
        pass
    assert len(list(run.local("logs").iterdir())) == 2


def test_on_an_object_store_it_is_compressed_once(store: Any) -> None:
    run, shown = Run.open(store.uri("bucket/run")), console()
    with job_log.kept(run, "train", shown):
        shown.print("packed")
    (path,) = run.list("logs")
    filesystem, place = storage.filesystem(run.full(path))
    with filesystem.open_input_stream(place, compression=None) as stream:
        content = stream.read()
    assert run.read_bytes(path) == content
    assert pa.CompressedInputStream(pa.py_buffer(content), "zstd").read() == b"packed\n"


def failing(run: Run, shown: Console) -> None:
    with job_log.kept(run, "export", shown):
        shown.print("merging")
        raise GateError("not published")


def full(*_: object, **__: object) -> int:
    raise StorageError("disk full")


def test_an_error_is_its_last_line(run: Run) -> None:
    with pytest.raises(GateError):
        failing(run, console())
    (path,) = run.local("logs").iterdir()
    assert text(path) == "merging\nGateError: not published\n"


def test_an_error_of_the_job_counts_more_than_one_of_its_log(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "write_bytes", full)
    with pytest.raises(GateError):
        failing(run, console())
    with pytest.raises(StorageError), job_log.kept(run, "export", console()):
        pass
