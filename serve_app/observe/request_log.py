"""The log of requests: one JSON object a line, in files of a bounded size, the full ones compressed.

Output contract: `write` neither waits nor fails; a thread writes lines in batches, each line whole or not at all. When
the disk takes none (full, no permission), the service goes on: lines are dropped and counted, and the next line that is
written gives their number. A process writes files of its own, `requests-<time>-<pid>.jsonl`; a full one becomes
`.jsonl.zst` (`zstdcat` reads it), and only the newest are kept. The file of a killed process is compressed by the next
one. An entry holds ids, counts, times and the status of a request; of the client's text at most the ids it gave.
zstd comes from pyarrow, a dependency anyway: Python has its own from 3.14.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.storage import append_whole, to_disk
from serve_app.observe.request import RequestRecord

log = logging.getLogger("solotune.serve")

WAITING = 20_000  # lines that may wait for the disk
TOGETHER = 0.1  # seconds: lines that come in that time are written together
_encode = json.JSONEncoder(separators=(",", ":")).encode


def entry(record: RequestRecord) -> dict[str, Any]:
    """Returns the log entry of a finished request; times in seconds."""
    fields: dict[str, Any] = {
        "time": _now(),
        "request_id": record.id,
        "key_id": None if record.key is None else record.key.id,
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "seconds": round(record.seconds, 6),
    }
    if record.client_ids:
        fields["client_request_ids"] = record.client_ids
    job = record.job
    if job is None:
        return fields
    firsts = [times.first for times in job.token_times if times.first is not None]
    return fields | {
        "completion_id": job.id,
        "stream": job.stream,
        "choices": len(job.generations),
        "prompt_tokens": job.usage.prompt_tokens,
        "completion_tokens": job.usage.completion_tokens,
        "finish_reasons": [times.finish_reason for times in job.token_times],
        "first_token": round(min(firsts) - record.started, 6) if firsts else None,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class LogWriter:
    """See the module. `size` is in bytes, `keep` counts compressed files."""

    def __init__(self, folder: Path, size: int, keep: int) -> None:
        self.folder, self.size, self.keep = folder, size, keep
        self.written = self.dropped = 0
        self._reported = 0  # dropped lines that a line in the log counts
        self._counting = threading.Lock()
        self._lines: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._file: FileIO | None = None
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def write(self, entry: Mapping[str, Any]) -> None:
        """Writes an entry as a line, without waiting; drops and counts it when the queue is full."""
        try:
            self._lines.put_nowait(_encode(entry).encode() + b"\n")
        except queue.Full:
            self._drop(1)

    def close(self, seconds: float = 5.0) -> None:
        """Writes the waiting lines and ends the thread; gives up when the disk takes longer than `seconds`."""
        try:
            self._lines.put(None, timeout=seconds)
            self._thread.join(seconds)
        except queue.Full:
            log.error("the log's disk does not take its last lines")

    def _drop(self, lines: int) -> None:
        with self._counting:
            self.dropped += lines

    def _run(self) -> None:
        self._tidy()
        more = True
        while more:
            lines = [self._lines.get()]
            if lines[0] is not None:
                time.sleep(TOGETHER)
            while not self._lines.empty():
                lines.append(self._lines.get_nowait())
            more = None not in lines
            self._put([line for line in lines if line is not None])
        if self._file is not None:
            self._file.close()

    def _put(self, lines: list[bytes]) -> None:
        if not lines:
            return
        unreported = self.dropped - self._reported
        notes = [_encode({"time": _now(), "dropped_lines": unreported}).encode() + b"\n"] if unreported else []
        try:
            if self._file is None:
                self._file = _begin(self.folder)
            append_whole(self._file, b"".join([*notes, *lines]))
        except OSError as error:
            if not unreported:
                log.error("requests go on, their log does not: %s", error.strerror or type(error).__name__)
            self._drop(len(lines))
            return
        self.written += len(lines)
        self._reported += unreported
        if self._file.tell() >= self.size:
            self._file.close()
            self._file = None
            self._tidy()

    def _tidy(self) -> None:
        """Compresses the files without a writer, and deletes the oldest compressed ones."""
        try:
            for path in sorted(self.folder.glob("requests-*.jsonl")):
                _compress(path)
            for path in sorted(self.folder.glob("requests-*.jsonl.zst"))[: -self.keep]:
                path.unlink(missing_ok=True)
        except OSError as error:  # tried again at the next rotation
            log.error("a log file stays uncompressed: %s", error.strerror or type(error).__name__)


def _begin(folder: Path) -> FileIO:
    """Returns a new log file, locked while it is open."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"requests-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{os.getpid()}.jsonl"
    stream = open(folder / f".{name}", "xb", buffering=0, opener=_private)  # noqa: SIM115 -- closed when it is full
    fcntl.flock(stream, fcntl.LOCK_EX)
    (folder / f".{name}").rename(folder / name)  # seen by other processes only once it is locked
    return stream


def _compress(path: Path) -> None:
    """Replaces a file that no process has locked by a compressed one; deletes an empty one."""
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if path.stat().st_size:
            temporary = path.with_name(f".{path.name}.zst.tmp")
            try:
                with open(temporary, "wb", opener=_private) as raw, pa.CompressedOutputStream(raw, "zstd") as packed:
                    while block := stream.read(1 << 20):
                        packed.write(block)
                to_disk(temporary)
                temporary.replace(path.with_name(f"{path.name}.zst"))
            finally:
                temporary.unlink(missing_ok=True)
        path.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)
