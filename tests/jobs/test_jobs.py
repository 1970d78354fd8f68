"""The command line: a user's mistake is one line and exit code 2, before Ray or a model is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import jobs
from jobs import plan
from pipeline.errors import StorageError, UserError
from pipeline.run import Run

CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("verb", ["curate", "synthesize", "train", "evaluate", "export", "serve", "report"])
def test_every_verb_explains_itself(verb: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"jobs.{verb}", "--help"], capture_output=True, text=True, check=True)
    assert f"jobs.{verb}" in done.stdout
    assert "--run" in done.stdout


def test_a_misspelt_key_is_one_line_and_code_two(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("name: a\nbase_model: o/m\ntrian: {}\n")
    code, errors = run("jobs.report", str(config), "--run", str(tmp_path / "run"))
    assert code == 2
    assert errors.strip().splitlines() == [f"report: {config}: trian: unknown key, did you mean 'train'?"]


def test_a_place_that_cannot_be_written_is_code_two(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, errors = run("jobs.curate", str(CONFIG), "--input", str(CONFIG), "--run", str(tmp_path / "file" / "run"))
    assert code == 2
    assert "cannot" in errors
    assert len(errors.strip().splitlines()) == 1


def test_credentials_in_a_place_are_refused_and_not_repeated() -> None:
    code, errors = run("jobs.report", str(CONFIG), "--run", "s3://KEY:SECRET@bucket/run")
    assert code == 2
    assert "AWS_SECRET_ACCESS_KEY" in errors
    assert "SECRET@" not in errors
    assert len(errors.strip().splitlines()) == 1


def test_an_option_given_twice_counts_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[jobs.Job] = []
    inputs, earlier = ([str(tmp_path / name) for name in names] for names in ("abc", "rs"))
    for path in inputs:
        Path(path).touch()
    for path in earlier:
        run = Run.open(path)
        run.commit(run.begin("curate", "key"), {}, {})
    given = ["--input", *inputs[:2], "--input", inputs[2], "--earlier", earlier[0], "--earlier", earlier[1]]
    monkeypatch.setattr(sys, "argv", ["curate", str(CONFIG), *given, "--run", str(tmp_path / "run")])
    jobs.main(asked.append, "", needs_ray=False)
    assert asked[0].inputs == tuple(inputs)
    assert [run.uri for run in asked[0].earlier] == earlier


@pytest.mark.parametrize("option", ["--input", "--earlier"])
def test_a_mistyped_input_makes_no_run_folder(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", str(CONFIG), option, str(tmp_path / "typo"), "--run", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["curate", str(CONFIG), *arguments])
    with pytest.raises(SystemExit, match="2"):
        jobs.main(lambda _: pytest.fail("the job has started"), "", needs_ray=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "typo") in line
    assert list(tmp_path.iterdir()) == []


def test_cards_given_twice_are_all_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["--card", "24", "--card", "H100", "--candidates", "a", "--candidates", "b"]
    monkeypatch.setattr(sys, "argv", ["plan", *given])
    args = plan.arguments()
    assert (args.card, args.candidates) == (["24", "H100"], ["a", "b"])


def test_an_address_for_jobs_is_not_one_for_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_ID", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(UserError, match="ray job submit"):
        jobs.start_ray()


def test_a_job_run_by_hand_has_a_ray_of_its_own_behind_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    asked: dict[str, object] = {}
    for name in ("RAY_JOB_ID", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", *jobs.SETTINGS, *jobs.PRIVATE):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(ray, "init", lambda **options: asked.update(options))
    jobs.start_ray()
    assert asked["address"] == "local"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_cluster_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refuse(**_: object) -> None:
        raise ConnectionError("Failed to connect")

    monkeypatch.delenv("RAY_JOB_ID", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UserError, match=r"no Ray cluster answers at RAY_ADDRESS=127\.0\.0\.1:1"):
        jobs.start_ray()


def test_a_relative_place_in_an_uploaded_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / jobs.UPLOADED / "pkg"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"\$PWD/runs/a"):
        jobs.absolute_path("runs/a")
    assert jobs.absolute_path("/runs/a") == "/runs/a"
    assert jobs.absolute_path("s3://bucket/a") == "s3://bucket/a"


def test_an_error_of_ours_is_found_under_what_ray_wraps_around_it() -> None:
    class RayTaskError(Exception):
        def __init__(self, cause: Exception) -> None:
            self.cause = cause

    ours = StorageError("full")
    outer = RuntimeError("x")
    outer.__cause__ = RayTaskError(ours)
    assert jobs._deliberate(outer) is ours
    assert jobs._deliberate(RuntimeError("x")) is None

    class BothError(RayTaskError, StorageError):
        """What Ray makes of an error of ours: it is one, but reads as a traceback."""

    assert jobs._deliberate(BothError(ours)) is ours
