"""`jobs.keys` on a mistyped path is one line and exit code 2, and makes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import keys as job
from serve_app import keys


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs the job on a file with some arguments."""

    def run(file: Path, *words: str) -> None:
        monkeypatch.delenv("RAY_JOB_ID", raising=False)
        monkeypatch.setattr(sys, "argv", ["keys", "--file", str(file), *words])
        job.main()

    return run


@pytest.mark.parametrize("words", [("list",), ("revoke", "crm"), ("make", "crm", "--scopes", "chat")])
@pytest.mark.parametrize("name", ["typo/keys.json", f"typo/{keys.STORE}"])
def test_a_mistyped_file_makes_nothing(
    name: str, words: tuple[str, ...], start: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        start(tmp_path / name, *words)
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "typo") in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["keys.json", keys.STORE])
def test_make_makes_the_file_and_the_folder_that_a_run_has_it_in(name: str, start: Any, tmp_path: Path) -> None:
    start(tmp_path / name, "make", "crm", "--scopes", "chat")
    assert [key.name for key in keys.read(tmp_path / name)] == ["crm"]
