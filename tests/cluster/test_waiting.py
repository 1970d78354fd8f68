"""A job that waits for a card says who holds it, on a cluster whose larger node has none."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.nodes import QUIET, ROOT, cluster, outside

pytestmark = pytest.mark.cluster

HOLDER = """
import ray, sys
ray.init("auto", log_to_driver=False)
@ray.remote(num_gpus=1, num_cpus=1)
class Holder:
    def ready(self): pass
holder = Holder.remote()
ray.get(holder.ready.remote())
print("ready", flush=True)
sys.stdin.read()
"""
WAITER = """
import ray
from rich.console import Console
from pipeline import waiting
ray.init("auto", log_to_driver=False)
print(waiting.worker(), flush=True)
waiting.wait_for(waiting.worker(), Console())
print("room", flush=True)
"""


def test_it_is_told_who_holds_the_card_and_goes_on_when_it_is_free(tmp_path: Path) -> None:
    with cluster(2, 4, gpus=1) as made:
        environment = {**outside(), **QUIET, **made.credentials, "RAY_ADDRESS": made.address}
        log = tmp_path / "log"
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            with log.open("wb") as sink:
                waiter = subprocess.Popen(
                    [sys.executable, "-c", WAITER], env=environment, cwd=ROOT, stdout=sink, stderr=sink
                )
            started = time.monotonic()
            while "Holder of job" not in log.read_text():
                assert waiter.poll() is None, log.read_text()
                assert time.monotonic() - started < 60, log.read_text()
                time.sleep(0.2)
            assert (
                "waiting for 1 GPU and 2 CPU of one node: Holder of job 01000000 has 1 GPU and 1 CPU" in log.read_text()
            )
            assert "room" not in log.read_text().splitlines()
        finally:
            holder.communicate(b"")  # at which it ends
        assert waiter.wait(60) == 0, log.read_text()
        assert "room" in log.read_text().splitlines()
