"""Serves the run's merged model over HTTP: `python -m jobs.serve CONFIG --run DIR`. Submitted, the service stays."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs import Job, absolute_path, main, start_ray
from serve_app import app, deploy

OPTIONS: dict[str, dict[str, Any]] = {
    "--keys": {"metavar": "FILE", "help": "file of API keys (see jobs.keys); default: one in the run folder"},
    "--update": {"action": "store_true", "help": "put this run in the place of the one that is served"},
    "--stop": {"action": "store_true", "help": "end the service"},
    "--write": {"metavar": "FILE", "help": "write a file for `serve deploy` instead"},
}


@contextlib.contextmanager
def _until_a_signal() -> Iterator[None]:
    """SIGTERM and Ctrl-C end the block, also while the model is loaded.

    Ray's own handler of SIGTERM aborts the process, and running answers with it.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        yield


def serve(job: Job) -> None:
    """Starts, updates, stops or describes the service."""
    store = Path(absolute_path(job.options["keys"])) if job.options["keys"] else None
    if job.options["write"]:
        deploy.write(job.project, job.run, store, Path(absolute_path(job.options["write"])))
        return
    start_ray()
    if not job.options["stop"]:
        stays = bool({"RAY_JOB_ID", "RAY_ADDRESS"} & os.environ.keys())
        with contextlib.nullcontext() if stays else _until_a_signal():
            (deploy.update if job.options["update"] else deploy.start)(job.project, job.run, store, job.console)
            if stays:
                return
            job.console.print("This Ray is private to the command: the service ends with it. Ctrl-C to stop")
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        if not app.deployed():
            return
    deploy.stop(job.console, ray_stays=bool(job.options["stop"]))


if __name__ == "__main__":
    main(serve, str(__doc__), needs="export", needs_ray=False, options=OPTIONS, alone="stop")
