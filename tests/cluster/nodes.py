"""Ray nodes for tests: real `ray start` processes on this machine, and the job as a process of its own.

Output contract: every node has its own process group, temporary folder, ports and number of CPUs, and ends by its
process group alone; nothing of another Ray on this machine is touched, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "assets" / "sample" / "dump"
FILE_ROWS = 25  # of a file, which is read by a task and screened by another
OBJECT_STORE = 80 << 20  # bytes per node: about the least that Ray takes
QUIET = {
    "PYTHONPATH": str(ROOT),
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def outside() -> dict[str, str]:
    """Returns the environment without what belongs to another Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def end(process: subprocess.Popen[bytes], how: int = signal.SIGKILL) -> None:
    """Ends a process that leads a process group, and everything in the group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    process.wait()


class Node:
    """One `ray start --block` and all it starts."""

    def __init__(self, folder: Path, cpus: int, arguments: list[str], environment: Mapping[str, str]) -> None:
        folder.mkdir()
        self.log = folder / "start.log"
        agent, runtime_env, metrics = free_ports(3)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", f"--object-store-memory={OBJECT_STORE}"]
        command += [f"--temp-dir={folder}", f"--dashboard-agent-listen-port={agent}"]
        command += [f"--runtime-env-agent-port={runtime_env}", f"--metrics-export-port={metrics}"]
        command += ["--min-worker-port=0", "--max-worker-port=0", *arguments]  # 0: free ones, two nodes share the host
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**outside(), **QUIET, **environment},
                cwd=folder,
            )

    def wait(self, seconds: float = 120) -> None:
        """Waits until the node has joined its cluster."""
        limit = time.monotonic() + seconds
        while "Ray runtime started" not in self.log.read_text(errors="replace"):
            if time.monotonic() > limit or self.process.poll() is not None:
                raise RuntimeError(f"a Ray node did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        """Returns everything that runs on the node."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


class Cluster:
    """A head and, with `add`, worker nodes. `address` is for drivers, `dashboard` for `ray job submit`; both ask for
    the token that `credentials` names, as on a real cluster."""

    def __init__(self, folder: Path, cpus: int, environment: Mapping[str, str], gpus: int = 0) -> None:
        self.token = folder / "token"
        self.token.write_text(secrets.token_hex(32))
        self.credentials = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}
        environment = {**environment, **self.credentials}
        self._folder, self._environment = folder, environment
        gcs, dashboard, client = free_ports(3)
        self.address, self.dashboard = f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}"
        arguments = ["--head", f"--port={gcs}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
        arguments += [f"--ray-client-server-port={client}", f"--num-gpus={gpus}"]
        self.head = Node(folder / "0", cpus, arguments, environment)
        self.workers: list[Node] = []
        try:
            self.head.wait()
        except BaseException:
            end(self.head.process)
            raise

    def add(self, *cpus: int) -> None:
        """Starts worker nodes and waits until all of them have joined."""
        for count in cpus:
            folder = self._folder / str(len(self.workers) + 1)
            self.workers.append(Node(folder, count, [f"--address={self.address}"], self._environment))
        for worker in self.workers:
            worker.wait()


@contextlib.contextmanager
def cluster(head: int, *workers: int, environment: Mapping[str, str] | None = None, gpus: int = 0) -> Iterator[Cluster]:
    """A cluster of nodes with so many CPUs each, whose head claims to have `gpus` cards; its folder is short because
    Ray puts sockets below it."""
    folder = Path(tempfile.mkdtemp(prefix="solo", dir="/tmp"))
    made = None
    try:
        made = Cluster(folder, head, environment or {}, gpus)
        made.add(*workers)
        yield made
    finally:
        for node in [*made.workers, made.head] if made is not None else []:
            end(node.process)
        shutil.rmtree(folder, ignore_errors=True)


# -- the job ----------------------------------------------------------------------------------------------------------


def dump(folder: Path, tickets: int, pages: int) -> Path:
    """Writes some of the bundled sample's tickets, every tenth of them twice, a file for every
    `FILE_ROWS`, and English pages; returns the folder."""
    with (SAMPLE / "zendesk.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(line for line in stream if "\0" not in line))
    whole = [row for row in rows[1:] if len(row) == len(rows[0])][:tickets]
    both = [*whole, *([row[0], f"9{row[1]}", *row[2:]] for row in whole[::10])]
    (folder / "pages").mkdir(parents=True)
    for at in range(0, len(both), FILE_ROWS):
        sink = io.StringIO()
        csv.writer(sink).writerows([rows[0], *both[at : at + FILE_ROWS]])
        (folder / f"zendesk-{at:05d}.csv").write_text(sink.getvalue(), encoding="utf-8")
    for page in sorted((SAMPLE / "pages" / "en").glob("*.md"))[:pages]:
        (folder / "pages" / page.name).write_bytes(page.read_bytes())
    return folder


def config(path: Path) -> Path:
    """Writes a configuration for the sample; returns its path."""
    path.write_text("name: nodes\nbase_model: tiny-base\nseed: 3\ncurate: {toxicity: {model: toxicity-small}}\n")
    return path


def curate(settings: Path, source: str, run: str, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts the job in a process group of its own; what it prints is appended to `log`."""
    command = [sys.executable, "-m", "jobs.curate", str(settings), "--input", source, "--run", run]
    with log.open("ab") as sink:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            start_new_session=True,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**outside(), **QUIET, **environment},
        )


def outcome(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file that a curation is for."""
    kept = [path for top in ("data", "rejects", "metrics") for path in (folder / top).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def left_over(folder: Path) -> list[str]:
    """Returns the paths of what a finished run must not hold: unfinished files, the dump as it was read."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in found]
    return sorted(name for name in names if name.endswith(".tmp") or name.startswith("stages/read/"))
