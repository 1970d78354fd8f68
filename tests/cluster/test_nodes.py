"""One curation on one node, on three, on three of which one dies, from and to S3: always the same bytes.

The nodes are real `ray start` processes of this machine; a node is lost by SIGKILL to all of its processes at once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.run import Run
from tests.cluster.kill_trials import trials
from tests.cluster.nodes import Cluster, Node, cluster, config, curate, dump, end, left_over, outcome

pytestmark = pytest.mark.cluster
SECONDS = 400.0  # that a curation may take


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns a configuration and a dump of 300 tickets and some pages, in files of 25 rows."""
    folder = tmp_path_factory.mktemp("nodes")
    return config(folder / "config.yaml"), dump(folder / "dump", tickets=270, pages=4)


def finish(job: subprocess.Popen[bytes], log: Path) -> None:
    try:
        assert job.wait(SECONDS) == 0, log.read_text()
    finally:
        end(job)


@pytest.fixture(scope="module")
def expected(work: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a private Ray on one node makes of it."""
    run = tmp_path_factory.mktemp("one")
    log = run.with_suffix(".log")
    finish(curate(work[0], str(work[1]), str(run), log, {}), log)
    assert left_over(run) == []
    found = outcome(run)
    sources = json.loads(found["metrics/curate.json"])["sources"]
    assert sum(source["read"] for name, source in sources.items() if name != "pages") == 297
    return found


def busy(node: Node) -> bool:
    """Returns whether a process of the node is doing a unit of Ray Data's."""
    names = []
    for process in node.processes():
        try:
            names.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return any(name.startswith("ray::") and "IDLE" not in name for name in names)


def driver(nodes: Cluster, work: tuple[Path, Path], run: Path) -> subprocess.Popen[bytes]:
    environment = {"RAY_ADDRESS": nodes.address, **nodes.credentials}
    return curate(work[0], str(work[1]), str(run), run.with_suffix(".log"), environment)


def test_three_nodes_give_the_bytes_of_one(work: tuple[Path, Path], expected: dict[str, bytes], tmp_path: Path) -> None:
    run = tmp_path / "three"
    with cluster(1, 1, 1) as nodes:
        job = driver(nodes, work, run)
        worked: set[int] = set()
        while job.poll() is None:
            worked |= {number for number, node in enumerate([nodes.head, *nodes.workers]) if busy(node)}
            time.sleep(0.1)
        finish(job, run.with_suffix(".log"))
    assert worked == {0, 1, 2}
    assert outcome(run) == expected
    assert left_over(run) == []


@pytest.mark.parametrize("stage", ["screen", "toxicity", "dedup"])
def test_a_node_that_dies_changes_nothing(
    stage: str, work: tuple[Path, Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    run = tmp_path / "dies"
    with cluster(1, 1, 1) as nodes:
        job = driver(nodes, work, run)
        victim = nodes.workers[0]
        while not ((run / "stages" / stage).is_dir() and busy(victim)):
            assert job.poll() is None, run.with_suffix(".log").read_text()
            time.sleep(0.05)
        os.killpg(victim.process.pid, signal.SIGKILL)
        assert victim.process.wait() != 0
        finish(job, run.with_suffix(".log"))
    assert outcome(run) == expected
    assert left_over(run) == []


def submit(nodes: Cluster, home: Path, credentials: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Runs `ray job submit` as on a laptop: another folder, another HOME, nothing but the address and the token."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "RAY_USAGE_STATS_ENABLED": "0", **credentials}
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", nodes.dashboard, *words]
    return subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_a_job_is_submitted_from_a_laptop_with_the_token_and_refused_without(
    work: tuple[Path, Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    home, run = tmp_path / "laptop", tmp_path / "submitted"
    home.mkdir()
    (home / "configs").mkdir()
    shutil.copy(work[0], home / "configs" / "mine.yaml")
    with cluster(2) as nodes:
        token = home / "token"
        shutil.copy(nodes.token, token)
        words = ["--working-dir", "configs", "--", "python", "-m", "jobs.curate", "mine.yaml"]
        words += ["--input", str(work[1]), "--run", str(run)]
        for credentials in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
            refused = submit(nodes, home, credentials, *words)
            assert refused.returncode != 0
            assert "token" in (refused.stdout + refused.stderr).lower()
            assert not run.exists()
        done = submit(nodes, home, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "read 5 files" in done.stdout
    assert outcome(run) == expected


def test_from_s3_to_s3_gives_the_bytes_of_local_folders(
    work: tuple[Path, Path], expected: dict[str, bytes], tmp_path: Path, store: Any
) -> None:
    source = Run.open(store.uri("bucket/crm/dump"))
    for path in work[1].rglob("*"):
        if path.is_file():
            source.write_bytes(path.relative_to(work[1]).as_posix(), path.read_bytes())
    log, run = tmp_path / "s3.log", Run.open(store.uri("bucket/runs/x"))
    finish(curate(work[0], source.uri, run.uri, log, {}), log)
    tops = ["rejects", "metrics", "data", "data/train", "data/val", "data/golden"]
    found = {path: run.read_bytes(path) for top in tops for path in run.list(top)}
    assert found == expected
    assert run.list("stages/read") == []
    written = [run.read_bytes(path) for top in ("metrics", "stages/curate", "stages/read") for path in run.list(top)]
    secrets = [os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]]
    for text in (log.read_bytes(), run.read_bytes("config.yaml"), *written):
        assert not any(secret.encode() in text for secret in secrets)


def test_random_kills_change_nothing(tmp_path: Path) -> None:
    """A few of `python -m tests.cluster.kill_trials`."""
    for result in trials(tmp_path, range(4), seed=2026):
        assert result["same"], result
        assert result["left"] == [], result
