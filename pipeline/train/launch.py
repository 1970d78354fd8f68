"""The driver's side of a training: starts the one Ray Train worker, tells its progress, starts it again when it dies.

Output contract: `fit` returns what the worker wrote about itself, or raises the error that it ended with. A worker that
died (killed, out of memory, a GPU that fell off) is started again within the same job, `train.restarts` times at most;
it goes on from its newest checkpoint by itself. SIGTERM to this process becomes a file that the worker finds.
This module knows nothing of models.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import waiting
from pipeline.errors import PreemptedError, SolotuneError, WorkerLostError, one_line
from pipeline.plan import resolve_auto
from pipeline.train.loop import trackers
from pipeline.train.loop.event_log import EventLog, Line, following
from pipeline.train.loop.preemption import Notice, on_sigterm

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.run import Run

LINES = "metrics/train.jsonl"
FOLDER = "stages/train"
SIGNALLED = f"{FOLDER}/sigterm"
Work = Callable[[dict[str, Any]], None]


def fit(work: Work, settings: dict[str, Any], steps: int, console: Console) -> dict[str, Any]:
    """Runs `work` in a Ray Train worker until it has ended; returns its facts.

    `settings` holds `project`, `run` and `key`; the worker gets `threads` and `facts` (a path) as well. Raises
    `PreemptedError`, `WorkerLostError` and what the worker raised.
    """
    run, wanted = settings["run"], settings["project"].train
    folder = run.local(FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    facts, event_log = folder / "facts.json", EventLog(run.local(LINES))
    notice = Notice(wanted.preemption, run.local(SIGNALLED))
    event_log.begin(settings["key"])
    lost = 0
    mirrored = trackers.mirroring(settings["project"], run, event_log, console)
    with on_sigterm(run.local(SIGNALLED)), mirrored, following(event_log, teller(steps, _planned(run), console)):
        while True:
            bundle = waiting.worker()
            waiting.wait_for(bundle, console, notice.given)
            if reason := notice.given():
                raise PreemptedError(f"the machine is going away ({reason}): no worker is started")
            error = _once(work, {**settings, "facts": str(facts)}, folder, bundle)
            if error is None:
                break
            lost += 1
            step = max((line["step"] for line in event_log.read()), default=0)
            said = one_line(error)[:200]
            if lost > wanted.restarts:
                times = "once" if lost == 1 else f"{lost} times"
                raise WorkerLostError(
                    f"the training's worker died {times}, at last after step {step}: {said}. Often the machine is "
                    "short of memory; the same command goes on from the newest checkpoint"
                ) from error
            event_log.event(step, "worker_lost", f"the worker died after step {step} and is started again ({lost})")
    found: dict[str, Any] = json.loads(facts.read_text())
    if found["ended"] is not None and found["ended"][0] == PreemptedError.__name__:
        raise PreemptedError(found["ended"][1])
    return found


def _once(work: Work, settings: dict[str, Any], folder: Path, bundle: dict[str, float]) -> BaseException | None:
    """Runs one worker with the resources of `bundle` to its end; returns what it died of, None when it did not. Raises
    what it raised itself."""
    from ray.train import LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import WorkerGroupError  # `ray.train` exports it only in some builds

    scratch = tempfile.mkdtemp(prefix="solotune-train-", dir=folder)
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # a process more, and no second worker to move to
    trainer = TorchTrainer(
        work,
        train_loop_config={**settings, "threads": int(bundle.get("CPU", 1))},
        scaling_config=ScalingConfig(num_workers=1, use_gpu="GPU" in bundle, resources_per_worker=bundle),
        run_config=RunConfig(name=settings["key"], storage_path=scratch, logging_config=LoggingConfig("ERROR")),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        cause: BaseException = next(iter(error.worker_failures.values()), error)
        if isinstance(cause, SolotuneError):
            raise cause from None
        if not died(cause):
            raise error from cause
        return cause
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return None


def died(cause: BaseException) -> bool:
    """Returns whether the worker's process, or the GPU under it, is gone: a new process may well succeed."""
    from ray.exceptions import RayError

    # Ray Train wraps the death of an actor in an error that it does not export
    return isinstance(getattr(cause, "health_check_failure", cause), RayError) or (
        type(cause).__name__ == "AcceleratorError"  # of torch: a CUDA context that cannot be used any more
    )


def _planned(run: Run) -> dict[str, Any] | None:
    return dict(run.read_json(resolve_auto.PLAN)) if run.exists(resolve_auto.PLAN) else None


def teller(steps: int, planned: dict[str, Any] | None, console: Console) -> Callable[[Line], None]:
    """Returns what prints lines of the event log: every evaluation and event, and a step now and then."""
    told = seconds = tokens = count = 0.0
    say = partial(console.print, markup=False)  # an answer may hold `[/INST]`

    def tell(line: Line) -> None:
        nonlocal told, seconds, tokens, count
        place = f"  step {line['step']:>5}/{steps}"
        if "event" in line:
            say(f"{place}  {line['text']}")
        elif "eval_loss" in line:
            loss, perplexity = _number(line["eval_loss"]), _number(line["perplexity"], 2)
            say(f"{place}  validation loss {loss}, perplexity {perplexity}")
        else:
            seconds, tokens, count = seconds + line["seconds"], tokens + line["tokens"], count + 1
            if line["step"] in {1, steps} or time.monotonic() - told >= 5:
                told = time.monotonic()
                left = timedelta(seconds=round((steps - line["step"]) * seconds / count))
                rate = tokens / max(seconds, 1e-9)
                share = resolve_auto.mfu(planned, rate) if planned is not None else None
                speed = f"{rate:,.0f} tokens/s" + (f", {share:.0%} of the peak" if share else "")
                say(f"{place}  loss {_number(line['loss'])}  {speed}  {left} left")

    return tell


def _number(value: float | None, digits: int = 4) -> str:
    return "not finite" if value is None else f"{value:.{digits}f}"
