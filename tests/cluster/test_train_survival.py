"""Trainings through the job and a Ray of their own: the worker dies, the machine is taken away, and it goes on."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipeline.run import Run
from pipeline.train import qlora
from tests.cluster import train_kill_trials as trials
from tests.cluster.nodes import end

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[trials.Bench]:
    with trials.bench(tmp_path_factory.mktemp("bench"), ray=False) as made:
        made.ray = True
        yield made


def lines_of(place: Path) -> list[dict[str, Any]]:
    return qlora.read_lines(Run.open(str(place)))


def wait_for_step(place: Path, job: subprocess.Popen[bytes], step: int) -> None:
    limit = time.monotonic() + trials.LIMIT
    while not any(line["step"] >= step and "loss" in line for line in lines_of(place)):
        assert job.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.002)


def begin(bench: trials.Bench, name: str, step: int) -> tuple[Path, subprocess.Popen[bytes]]:
    """Starts the job on a copy of the packed rows and returns it when it has taken so many steps."""
    place = bench.folder / name
    trials.shutil.copytree(bench.curated, place)
    job = trials.start_job(bench, place)
    wait_for_step(place, job, step)
    return place, job


def same(bench: trials.Bench, place: Path) -> bool:
    return trials.outcome(place) == bench.expected


def test_a_worker_that_dies_is_started_again_within_the_job(bench: trials.Bench) -> None:
    place, job = begin(bench, "worker", 5)
    try:
        victim = trials.worker_of(job.pid)
        assert victim is not None
        victim.kill()
        assert job.wait(trials.LIMIT) == 0, (bench.folder / "worker.log").read_text()
    finally:
        end(job)
    assert same(bench, place)
    told = json.loads((place / "metrics" / "train.json").read_text())["events"]
    assert [line["event"] for line in told] == ["worker_lost", "resumed"]
    assert "the worker died after step" in (bench.folder / "worker.log").read_text()


def test_a_worker_that_dies_too_often_is_a_sentence(bench: trials.Bench) -> None:
    strict = dataclasses.replace(bench, folder=bench.folder / "strict")
    strict.folder.mkdir()
    content = yaml.safe_load((bench.folder / "config.yaml").read_text())
    content["train"]["restarts"] = 0
    (strict.folder / "config.yaml").write_text(yaml.safe_dump(content))
    place, job = begin(strict, "once", 5)
    try:
        victim = trials.worker_of(job.pid)
        assert victim is not None
        victim.kill()
        assert job.wait(trials.LIMIT) == 1
    finally:
        end(job)
    assert "train: the training's worker died once, at last after step" in (strict.folder / "once.log").read_text()
    again = trials.start_job(bench, place)
    try:
        assert again.wait(trials.LIMIT) == 0
    finally:
        end(again)
    assert same(bench, place)


def test_sigterm_to_the_job_saves_and_the_same_command_goes_on(bench: trials.Bench) -> None:
    place, job = begin(bench, "sigterm", 5)
    try:
        psutil.Process(job.pid).send_signal(signal.SIGTERM)
        assert job.wait(trials.LIMIT) == 75
    finally:
        end(job)
    said = (bench.folder / "sigterm.log").read_text()
    assert "train: the machine is going away (SIGTERM): step" in said
    assert not (place / "metrics" / "train.json").exists()
    again = trials.start_job(bench, place)
    try:
        assert again.wait(trials.LIMIT) == 0
    finally:
        end(again)
    assert same(bench, place)
    told = json.loads((place / "metrics" / "train.json").read_text())["events"]
    assert [line["event"] for line in told] == ["preempted", "resumed"]
