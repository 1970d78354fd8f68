"""What is put under load, each a process of its own: our service, the engine alone, and `transformers serve` and vLLM's
server on the same model."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from bench.serving.load import Target
from pipeline.config import Vllm
from serve_app import keys
from serve_app.engines.vllm import STEP_TOKENS

ROOT = Path(__file__).resolve().parents[2]
SAME = {  # for every process that is measured: what the jobs set for themselves, and no look at the hub
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "PYTHONUNBUFFERED": "1",
}
ENDING = 60  # seconds that a process gets to end by itself
VLLM = [sys.executable, "-m", "vllm.entrypoints.cli.main"]
LARGE = {"max_new_tokens": 256, "max_input_tokens": 1024, "concurrency": 256, "queue": 1024}  # `serve` of a large model


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(folder: Path, settings: dict[str, Any]) -> Path:
    """Writes a project file with these `serve` settings; returns it."""
    place = folder / f"{settings['engine']}-{settings.get('port', 'bare')}.yaml"
    place.write_text(yaml.safe_dump({"name": "bench", "base_model": "tiny-base", "serve": settings}))
    return place


@contextlib.contextmanager
def ours(run: Path, settings: dict[str, Any], log: Path) -> Iterator[Target]:
    """Starts `jobs.serve` with a Ray of its own; yields where it listens, and stops it at the end."""
    port = free_port()
    place = configuration(run.parent, {**settings, "port": port})
    command = [sys.executable, "-m", "jobs.serve", str(place), "--run", str(run)]
    with _process(command, log) as process:
        url = _until(process, log, lambda: _line(log, r"^serve: bench at (\S+)"))
        _until(process, log, lambda: _line(log, r"(This Ray is private)"))
        yield Target(url, "bench", (run / keys.PLAIN).read_text())


@contextlib.contextmanager
def bare(run: Path, settings: dict[str, Any], log: Path) -> Iterator[Callable[[dict[str, int]], dict[str, float]]]:
    """Starts the engine alone; yields what puts a load on it and returns what `bench.serving.bare` says of it."""
    command = [sys.executable, "-m", "bench.serving.bare", str(configuration(run.parent, settings)), str(run)]
    with _process(command, log, piped=True) as process:
        given, made = process.stdin, process.stdout
        if given is None or made is None:
            raise RuntimeError("no pipes")

        def measure(load: dict[str, int]) -> dict[str, float]:
            with contextlib.suppress(BrokenPipeError):
                given.write(json.dumps(load).encode() + b"\n")
            for line in made:
                if line.startswith(b"{"):  # engines write on it, too
                    return dict(json.loads(line))
            raise RuntimeError(f"the engine ended: {_tail(log)}")

        try:
            yield measure
        finally:
            given.close()  # at which it ends by itself
            code = process.wait(ENDING)
        if code:
            raise RuntimeError(f"the engine ended badly: {_tail(log)}")


@contextlib.contextmanager
def transformers_serve(model: Path, log: Path) -> Iterator[Target]:
    """Starts `transformers serve` with continuous batching on the same model."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--continuous-batching"]
    with _process([*command, "--host", "127.0.0.1", "--port", str(port)], log) as process:
        _until(process, log, lambda: _answers(f"http://127.0.0.1:{port}/health"))
        yield Target(f"http://127.0.0.1:{port}/v1", str(model))


@contextlib.contextmanager
def vllm_serve(model: Path, log: Path) -> Iterator[Target]:
    """Starts vLLM's own server on the same model, with the limits of `LARGE` and our engine's defaults."""
    port, ours = free_port(), Vllm()
    options = {
        "--served-model-name": "bench",
        "--host": "127.0.0.1",
        "--port": port,
        "--max-model-len": LARGE["max_new_tokens"] + LARGE["max_input_tokens"],
        "--max-num-seqs": LARGE["concurrency"],
        "--max-num-batched-tokens": STEP_TOKENS,
        "--gpu-memory-utilization": ours.memory,
        "--generation-config": "vllm",
    }
    command = [*VLLM, "serve", str(model), *[str(part) for option in options.items() for part in option]]
    with _process(command, log) as process:
        _until(process, log, lambda: _answers(f"http://127.0.0.1:{port}/health"))
        yield Target(f"http://127.0.0.1:{port}/v1", "bench")


@contextlib.contextmanager
def _process(command: list[str], log: Path, piped: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a process whose output goes to `log`; `piped`: its standard input and output are its caller's."""
    environment = {**os.environ, **SAME}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    pipe = subprocess.PIPE if piped else None
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=pipe,
            stdout=pipe or stream,
            stderr=stream,
            bufsize=0,  # of what is written, nothing stays here when the process has died
        ) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)  # none where it has ended
            try:
                process.wait(ENDING)
            except subprocess.TimeoutExpired:
                process.kill()


def _until(process: subprocess.Popen[bytes], log: Path, look: Any, seconds: float = 400) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return str(found)
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended: {_tail(log)}")
        time.sleep(0.3)
    raise RuntimeError(f"{process.args!r} is not ready: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]


def _line(log: Path, pattern: str) -> str | None:
    found = re.search(pattern, log.read_text(errors="replace"), re.M)
    return found.group(1) if found else None


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
