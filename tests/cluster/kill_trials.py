"""Curations in which random processes are killed: `python -m tests.cluster.kill_trials --trials N --seed S --out FILE`.

A trial runs `jobs.curate` on a small dump, kills one process of it with SIGKILL at a random moment (the driver, a Ray
worker, the raylet, the GCS or an agent of the raylet, which ends with it) and in one of four trials another one later,
and repeats the same command until it ends with 0. Drivers and workers are killed on a Ray head that serves all trials,
what a node cannot live without in a Ray private to the job.
Output contract: a JSON line per trial in FILE; exit code 1 unless the files of every trial are, byte by byte, those of
an undisturbed run and nothing unfinished is left. The same seed draws the same targets and moments.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.cluster.nodes import Cluster, cluster, config, curate, dump, end, left_over, outcome

TARGETS = {"driver": 10, "worker": 10, "raylet": 2, "gcs": 2, "agent": 1}  # how often each is drawn
ATTEMPTS = 4  # how often the command is given before the trial counts as failed
LIMIT = 240.0  # seconds that one command may take


@dataclass(frozen=True)
class Kill:
    """`target` dies `at` this share of the seconds that an undisturbed run takes, counted from the command's start."""

    target: str
    at: float


@dataclass(frozen=True)
class Bench:
    """What the trials share."""

    folder: Path
    settings: Path
    source: Path
    head: Cluster
    seconds: dict[bool, float]  # an undisturbed run on a private Ray (True), on the shared head (False)
    expected: dict[str, bytes]


def draw(rng: random.Random) -> list[Kill]:
    """Returns the kills of a trial, all on the same kind of Ray."""
    target = rng.choices(list(TARGETS), weights=list(TARGETS.values()))[0]
    again = ["driver", "worker"] if target in ("driver", "worker") else list(TARGETS)
    targets = [target] + ([rng.choice(again)] if rng.random() < 0.25 else [])
    return [Kill(name, rng.random()) for name in targets]


def _name(process: psutil.Process) -> str:
    """Returns worker, agent, raylet, gcs or nothing: what a process of a Ray is."""
    try:
        line = process.cmdline()
    except psutil.Error:
        return ""
    if not line:
        return ""
    if line[0].startswith("ray::"):
        return "agent" if line[0].endswith("Agent") else "worker"
    return {"raylet": "raylet", "gcs_server": "gcs"}.get(Path(line[0]).name, "")


def victims(job: subprocess.Popen[bytes], head: Cluster | None, target: str) -> list[psutil.Process]:
    """Returns the running processes of a kind."""
    if target == "driver":
        return [psutil.Process(job.pid)]
    with contextlib.suppress(psutil.NoSuchProcess):
        found = head.head.processes() if head is not None else psutil.Process(job.pid).children(recursive=True)
        return [process for process in found if _name(process) == target]
    return []


def strike(job: subprocess.Popen[bytes], head: Cluster | None, target: str, rng: random.Random) -> bool:
    """Kills a process of a kind as soon as there is one; returns False when the job ends before."""
    while job.poll() is None:
        if found := sorted(victims(job, head, target), key=lambda process: process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                rng.choice(found).kill()
                return True
        time.sleep(0.02)
    return False


def attempt(bench: Bench, run: Path, private: bool, kill: Kill | None, rng: random.Random) -> tuple[int, bool]:
    """Gives the command once; returns its exit code and whether a process was killed. A private Ray ends with it."""
    environment = {} if private else {"RAY_ADDRESS": bench.head.address, **bench.head.credentials}
    job = curate(bench.settings, str(bench.source), str(run), bench.folder / f"{run.name}.log", environment)
    struck = False
    try:
        if kill is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.wait(kill.at * bench.seconds[private])
            struck = strike(job, None if private else bench.head, kill.target, rng)
        return job.wait(LIMIT), struck
    except subprocess.TimeoutExpired:
        return 124, struck
    finally:
        end(job)


def trial(bench: Bench, number: int, seed: int) -> dict[str, Any]:
    """Runs one trial; returns what happened. `survived`: the job ended well in spite of the kill."""
    rng = random.Random(f"{seed}/{number}")
    kills = draw(rng)
    private = kills[0].target not in ("driver", "worker")
    run = bench.folder / f"run-{number}"
    started = time.monotonic()
    codes: list[int] = []
    struck: list[bool] = []
    waiting = list(kills)
    while len(codes) < ATTEMPTS and (not codes or codes[-1] != 0):
        code, hit = attempt(bench, run, private, waiting.pop(0) if waiting else None, rng)
        codes.append(code)
        struck.append(hit)
    found = outcome(run)
    same = codes[-1] == 0 and found == bench.expected
    result = {
        "trial": number,
        "kills": [[kill.target, round(kill.at, 3)] for kill in kills],
        "struck": struck,
        "codes": codes,
        "survived": struck[0] and codes[0] == 0,
        "same": same,
        "differs": sorted(k for k in {*found, *bench.expected} if found.get(k) != bench.expected.get(k)),
        "left": left_over(run),
        "seconds": round(time.monotonic() - started, 1),
    }
    if same and not result["left"]:
        shutil.rmtree(run)
    return result


@contextlib.contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """The dump, the shared head, and two undisturbed runs that must agree."""
    settings, source = config(folder / "config.yaml"), dump(folder / "dump", tickets=80, pages=3)
    with cluster(2) as head:
        shared = Bench(folder, settings, source, head, {True: 0.0, False: 0.0}, {})
        outcomes = []
        for private in (False, True):
            started = time.monotonic()
            run = folder / f"undisturbed-{private}"
            code, _ = attempt(shared, run, private, None, random.Random(0))
            if code != 0:
                raise RuntimeError((folder / f"{run.name}.log").read_text())
            shared.seconds[private] = time.monotonic() - started
            outcomes.append(outcome(run))
        if outcomes[0] != outcomes[1] or not outcomes[0]:
            raise RuntimeError("undisturbed runs on a private and on a shared Ray differ")
        yield Bench(folder, settings, source, head, shared.seconds, outcomes[0])


def trials(folder: Path, numbers: range, seed: int) -> Iterator[dict[str, Any]]:
    """Runs trials in a folder and yields what happened in each."""
    with bench(folder) as shared:
        for number in numbers:
            if not any(_name(process) == "raylet" for process in shared.head.head.processes()):
                raise RuntimeError("the shared Ray head is gone")
            yield trial(shared, number, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Curations in which random processes are killed.")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial: goes on where a run stopped")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="a JSON line per trial is appended")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="solotune-trials-"))
    failed = 0
    numbers = range(args.first, args.first + args.trials)
    for result in trials(folder, numbers, args.seed):
        failed += not result["same"] or bool(result["left"])
        with args.out.open("a") as sink:
            sink.write(json.dumps(result) + "\n")
        print(json.dumps(result), flush=True)
    print(f"{args.trials - failed} of {args.trials} trials gave the bytes of an undisturbed run")
    if not failed:
        shutil.rmtree(folder)
    else:
        print(f"what the failed ones left: {folder}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
