"""A disk that fills up while something is written: a sentence, and what was finished before stays and goes on.

The limit on a file's size stands for a full disk: the kernel refuses the write, with an error of its own.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.config import Project
from pipeline.errors import StorageError
from pipeline.export import gguf_convert, llamacpp
from pipeline.models import load
from pipeline.run import Run
from pipeline.storage import storage_errors
from pipeline.train import qlora
from pipeline.train.loop import checkpoint, snapshots
from tests.export.test_gguf import build
from tests.export.test_merge import export, trained
from tests.small_model import make_tokenizer

FULL = "no space left to write .*: free some and run the same command again"


@contextlib.contextmanager
def full_at(size: int) -> Iterator[None]:
    """No file grows over so many bytes; the error that this makes is a sentence."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(StorageError, match=FULL):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


NUMBERS = torch.zeros(100_000)
WRITERS: dict[str, Callable[[Path], Any]] = {
    "safetensors": lambda path: save_file({"a": NUMBERS}, path),
    "torch": lambda path: torch.save(NUMBERS, path),
    "numpy": lambda path: NUMBERS.numpy().tofile(path),
    "numpy, with a header": lambda path: np.save(path, NUMBERS.numpy()),
    "tokenizers": lambda path: make_tokenizer().backend_tokenizer.save(str(path)),
    "python": lambda path: path.write_bytes(bytes(100_000)),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_whatever_library_meets_a_full_disk_the_sentence_is_one(tmp_path: Path, writer: str) -> None:
    with full_at(5_000), storage_errors(str(tmp_path)):
        WRITERS[writer](tmp_path / "file")


def test_another_error_of_a_library_is_not_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="No such file"), storage_errors(str(tmp_path)):
        save_file({"a": NUMBERS}, tmp_path / "nowhere" / "file")


def test_a_checkpoint_of_a_librarys_own_writer(tmp_path: Path) -> None:
    made = checkpoint.save(tmp_path, 1, "key", lambda folder: snapshots.put(folder / "w", torch.zeros(10)))
    with full_at(5_000):
        checkpoint.save(tmp_path, 2, "key", lambda folder: save_file({"a": NUMBERS}, folder / "w"))
    assert [path.name for path in tmp_path.iterdir()] == [made.name]
    assert checkpoint.newest(tmp_path, "key")[0] == checkpoint.Checkpoint(made, 1)


@pytest.fixture
def project(make_project: Any) -> Project:
    found: Project = make_project(train={"quantise": None}, export={"perplexity_gate": 0.9, "top1_gate": 0.1})
    return found


def test_an_adapter_that_is_there_stays(curated: Run, project: Project) -> None:
    run = trained(curated, project)
    before = {path.name: path.read_bytes() for path in checkpoint.files_of(run.local(load.ADAPTER))}
    adapted = qlora.add_adapter(*load.Base.of(project).load()[:1], project)
    with full_at(20_000):
        qlora._write_adapter(run.local(load.ADAPTER), adapted, make_tokenizer())
    assert {path.name: path.read_bytes() for path in checkpoint.files_of(run.local(load.ADAPTER))} == before
    assert [path.name for path in run.local("model").iterdir()] == ["adapter"]


def test_a_merged_model_stays_and_the_same_command_goes_on(curated: Run, project: Project) -> None:
    first = export(project, trained(curated, project))
    finished = curated.require("export")
    wider = project.model_copy(update={"export": project.export.model_copy(update={"dtype": "float32"})})
    with full_at(100_000):
        export(wider, curated)
    assert curated.require("export") == finished
    assert export(project, curated) == first
    assert sorted(path.name for path in curated.local("model").iterdir()) == ["adapter", "merged"]
    assert export(wider, curated)["dtype"] == "float32"


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_a_gguf_file_is_a_sentence_whoever_writes_it(tmp_path: Path, kind: str) -> None:
    folder = build(tmp_path / "model", "Llama")
    tokenizer = load.Base.at(folder).tokenizer()
    whole, quantised = tmp_path / "whole.gguf", tmp_path / "quantised.gguf"

    def convert() -> None:
        gguf_convert.convert(folder, whole, tokenizer, "test", tokenizer.chat_template)

    if kind != "f16":
        convert()
    with full_at(100_000), storage_errors(str(tmp_path)):
        convert() if kind == "f16" else llamacpp.quantise(whole, quantised, kind)
