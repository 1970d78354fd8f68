"""Trainings that are killed: `python -m tests.cluster.train_kill_trials --trials N --seed S --out FILE [--ray]`.

A trial trains a random model of two layers on a CPU, kills it with SIGKILL at a random moment, in two of five trials
while it saves a checkpoint, and in one of three another time; then the same training is started again until it has
ended. Without `--ray` the loop runs in a forked process (what Ray Train's worker calls, called directly), which takes a
second or two; with it `jobs.train` runs on a Ray of its own, and the job or the worker is killed: a killed worker must
be started again within the same job.
Output contract: a JSON line per trial in FILE; exit code 1 unless the loss curve, the validation losses and the bytes
of the adapter are those of an undisturbed training in every trial, and no half-written file is left. The same seed
draws the same targets and moments.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from rich.console import Console

from pipeline.config import Project
from pipeline.models import load
from pipeline.models.load import Base
from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.data import pack
from pipeline.train.loop.event_log import HAPPENED
from tests.cluster.nodes import QUIET, ROOT, end, outside

ATTEMPTS = 6  # how often the training is started before the trial counts as failed
LIMIT = 240.0  # seconds that one start may take
SETTINGS = {
    "max_length": 128,
    "pack_tokens": 256,
    "rows_per_step": 2,
    "epochs": 8,
    "learning_rate": 5e-3,
    "eval_every": 7,
    "checkpoint_minutes": 0.001,
    "quantise": None,
    "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
}


@dataclass(frozen=True)
class Kill:
    """The training dies when it has written this share of its lines, a moment later, or, `saving`, while it writes a
    checkpoint from then on. `target` (with Ray): driver or worker."""

    at: float
    saving: bool
    target: str


@dataclass
class Bench:
    """What the trials share; `curated` is a run folder with packed rows that each trial copies."""

    folder: Path
    project: Project
    curated: Path
    ray: bool
    expected: dict[str, Any] = field(default_factory=dict)


def draw(rng: random.Random) -> list[Kill]:
    """Returns the kills of a trial."""
    count = 2 if rng.random() < 1 / 3 else 1
    return [Kill(rng.random(), rng.random() < 0.4, rng.choice(["driver", "worker"])) for _ in range(count)]


def outcome(place: Path) -> dict[str, Any]:
    """Returns what must be the same: the curve, with full precision, and the adapter's bytes."""
    run = Run.open(str(place))
    lines = [line for line in qlora.read_lines(run) if line.get("event") not in HAPPENED]
    adapter = run.local(load.ADAPTER) / "adapter_model.safetensors"
    return {
        "curve": [{name: value for name, value in line.items() if name != "seconds"} for line in lines],
        "adapter": adapter.read_bytes() if adapter.is_file() else b"",
    }


def left_over(place: Path) -> list[str]:
    """Returns the half-written files and folders that are still there."""
    return sorted(str(path.relative_to(place)) for path in place.rglob(".*") if path.name.endswith(".tmp"))


def start_forked(bench: Bench, place: Path) -> int:
    """Forks a process that trains in a run folder; returns its id. The libraries are there already."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        run = Run.open(str(place))
        facts = str(place / "facts.json")
        base = Base.of(bench.project)
        qlora.work(
            {
                "project": bench.project,
                "base": base,
                "run": run,
                "key": "trial",
                "threads": 1,
                "facts": facts,
                "compute": "bf16",
                "graph": False,
            }
        )
        status = 0
    finally:
        os._exit(status)


def start_job(bench: Bench, place: Path) -> subprocess.Popen[bytes]:
    """Starts `jobs.train` on a Ray of its own."""
    command = [sys.executable, "-m", "jobs.train", str(bench.folder / "config.yaml"), "--run", str(place)]
    with (bench.folder / f"{place.name}.log").open("ab") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env={**outside(), **QUIET}, stdout=log, stderr=log, start_new_session=True
        )


def worker_of(job: int) -> psutil.Process | None:
    """Returns the process of Ray Train's worker below a job: Ray names it by what it is."""
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(job).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[:1] and "RayTrainWorker" in process.cmdline()[0]:
                    return process
    return None


def wait_until(done: Callable[[], bool], ready: Callable[[], bool]) -> bool:
    """Returns True as soon as it is ready, False when the training ends before."""
    while not done():
        if ready():
            return True
        time.sleep(0.0005)
    return False


def saves(place: Path) -> bool:
    """Returns whether a checkpoint is being written."""
    return any(place.glob("checkpoints/.step-*.tmp")) or any(place.glob("checkpoints/best/.step-*.tmp"))


def strike(bench: Bench, place: Path, pid: int, kill: Kill, done: Callable[[], bool], rng: random.Random) -> dict:
    """Kills once; returns what was hit."""
    event_log, wanted = place / qlora.LINES, int(kill.at * len(bench.expected["curve"]))

    def time_has_come() -> bool:
        return event_log.is_file() and event_log.read_bytes().count(b"\n") > wanted

    struck = wait_until(done, time_has_come) and (not kill.saving or wait_until(done, lambda: saves(place)))
    if not struck:
        return {"struck": False}
    time.sleep(rng.random() * (0.006 if kill.saving else 0.1))
    victim = worker_of(pid) if bench.ray and kill.target == "worker" else psutil.Process(pid)
    if victim is None:
        return {"struck": False}
    with contextlib.suppress(psutil.NoSuchProcess):
        victim.kill()
    return {"struck": True, "while_saving": saves(place), "target": kill.target if bench.ray else "loop"}


def attempt(bench: Bench, place: Path, kill: Kill | None, rng: random.Random) -> tuple[int, dict[str, Any]]:
    """Starts the training once; returns its exit code and what was killed."""
    if not bench.ray:
        pid = start_forked(bench, place)
        process = psutil.Process(pid)
        done = functools.partial(_ended, process)
        hit = strike(bench, place, pid, kill, done, rng) if kill else {}
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), hit
    job = start_job(bench, place)
    try:
        hit = strike(bench, place, job.pid, kill, lambda: job.poll() is not None, rng) if kill else {}
        return job.wait(LIMIT), hit
    except subprocess.TimeoutExpired:
        return 124, hit
    finally:
        end(job)


def _ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def train(bench: Bench, place: Path, kills: list[Kill], rng: random.Random) -> tuple[list[int], list[dict[str, Any]]]:
    """Starts the training until it has ended; returns the exit codes and what was killed."""
    shutil.copytree(bench.curated, place)
    codes: list[int] = []
    hits: list[dict[str, Any]] = []
    waiting = list(kills)
    while len(codes) < ATTEMPTS and (not codes or codes[-1] != 0):
        code, hit = attempt(bench, place, waiting.pop(0) if waiting else None, rng)
        codes.append(code)
        hits += [hit] if hit else []
    return codes, hits


def trial(bench: Bench, number: int, seed: int) -> dict[str, Any]:
    """Runs one trial; returns what happened."""
    rng = random.Random(f"{seed}/{number}")
    kills = draw(rng)
    place = bench.folder / f"run-{number}"
    began = time.monotonic()
    codes, hits = train(bench, place, kills, rng)
    found = outcome(place)
    happened = [line for line in qlora.read_lines(Run.open(str(place))) if line.get("event") in HAPPENED]
    result = {
        "trial": number,
        "kills": [[round(kill.at, 3), kill.saving] for kill in kills],
        "hits": hits,
        "codes": codes,
        "same_curve": found["curve"] == bench.expected["curve"],
        "same_adapter": found["adapter"] == bench.expected["adapter"],
        "told": [line["text"] for line in happened],
        "left": left_over(place),
        "seconds": round(time.monotonic() - began, 1),
    }
    if good(result):
        shutil.rmtree(place)
    return result


def good(result: dict[str, Any]) -> bool:
    """Returns whether a trial went as it must."""
    return result["codes"][-1] == 0 and result["same_curve"] and result["same_adapter"] and not result["left"]


@contextlib.contextmanager
def bench(folder: Path, ray: bool) -> Iterator[Bench]:
    """The model, the packed rows, and two undisturbed trainings that must agree."""
    import torch

    from tests.small_model import begin_curated, make_model

    torch.set_num_threads(1)  # so that a fork is safe: no pool of threads is ever made
    base = make_model(folder / "base")
    content = {"name": "trial", "base_model": str(base), "train": SETTINGS}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    project = Project.model_validate(content)
    run = begin_curated(folder / "curated")
    pack.pack(project, Base.of(project), run, Console(quiet=True))
    shared = Bench(folder, project, folder / "curated", ray)
    qlora.add_adapter(Base.of(project).load()[0], project)  # imports what a fork then need not import again
    import pipeline.train.loop.trainer  # noqa: F401

    outcomes = []
    for number in range(2):
        place = folder / f"undisturbed-{number}"
        codes, _ = train(shared, place, [], random.Random(0))
        if codes != [0]:
            raise RuntimeError(f"an undisturbed training ended with {codes}: see {folder}")
        outcomes.append(outcome(place))
    if outcomes[0] != outcomes[1] or not outcomes[0]["adapter"]:
        raise RuntimeError("two undisturbed trainings differ")
    shared.expected = outcomes[0]
    yield shared


def main() -> int:
    parser = argparse.ArgumentParser(description="Trainings that are killed.")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial: goes on where a run stopped")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ray", action="store_true", help="through jobs.train instead of the loop alone")
    parser.add_argument("--out", type=Path, required=True, help="a JSON line per trial is appended")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="solotune-trials-"))
    failed = 0
    with bench(folder, args.ray) as shared:
        for number in range(args.first, args.first + args.trials):
            result = trial(shared, number, args.seed)
            failed += not good(result)
            with args.out.open("a") as sink:
                sink.write(json.dumps(result) + "\n")
            print(json.dumps(result), flush=True)
    print(f"{args.trials - failed} of {args.trials} trials gave the curve and the adapter of an undisturbed training")
    if failed:
        print(f"what the failed ones left: {folder}")
    else:
        shutil.rmtree(folder)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
