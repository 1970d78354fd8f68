"""The event log of a training: lines of JSON, appended while it runs and cut back where it is resumed.

Output contract: the first line is `{"key": ...}`, the training the file belongs to, with `kept`, the number of lines
that were left standing, where it was cut back. Then come, in the order in which they happened, a line per optimiser
step (`loss`), per evaluation (`eval_loss`) and per event (`event`, and `text`: a sentence for people), each with its
`step`. A number that is not finite is null. Lines that cannot be written, because the disk is full, are kept and
written with the next ones. Readers leave out what a kill cut short; no whole line is ever joined to it.
This module does not know why something happened.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import one_line
from pipeline.storage import append_whole, storage_errors, sweep, write_whole

Line = dict[str, Any]
EVERY = 0.5  # seconds between two looks at an event log that is followed
HAPPENED = {"resumed", "preempted", "save_failed", "out_of_memory", "not_captured", "damaged", "worker_lost"}
"""Events of the machine. They are not repeated by a resumed training, so cutting back leaves them in place."""


class EventLog:
    """The file at `path`, open for appending as soon as something is written. Raises `StorageError` from `flush`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[str] = []

    def read(self) -> list[Line]:
        """Returns the lines after the first; a last one cut short by a kill is left out."""
        return [line for line in read(self.path) if "key" not in line]

    def begin(self, key: str) -> None:
        """Makes the file one of the training `key`; what another one wrote goes."""
        if [line.get("key") for line in read(self.path)[:1]] != [key]:
            self._write_all([{"key": key}])

    def cut(self, key: str, step: int | None) -> None:
        """Leaves what the training `key` had written when it had taken `step` steps (None: when it began)."""
        self.begin(key)
        kept = [line for line in self.read() if _stays(line, step)]
        self._write_all([{"key": key, "kept": len(kept)} if kept else {"key": key}, *kept])

    def _write_all(self, lines: list[Line]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        sweep(self.path.parent)  # what a process left that was killed in here
        with storage_errors(str(self.path)):
            write_whole(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def write(self, line: Line) -> None:
        """Appends one line; a reader of the file sees it at once, unless the disk is full."""
        self._waiting.append(json.dumps({name: _finite(value) for name, value in line.items()}) + "\n")
        with contextlib.suppress(OSError):  # kept for the next time; `flush` says so at the end
            self._append()

    def event(self, step: int, name: str, text: str, **facts: Any) -> None:
        """Appends an event: what happened at a step, by name, in a sentence and in numbers."""
        self.write({"step": step, "event": name, "text": text, **facts})

    def flush(self) -> None:
        """Writes what could not be written; raises `StorageError` when it still cannot."""
        with storage_errors(str(self.path)):
            self._append()

    def _append(self) -> None:
        if not self._waiting:
            return
        with self.path.open("a+b", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 1))
            gap = b"" if stream.read(1) in (b"", b"\n") else b"\n"  # a kill has left half a line
            append_whole(stream, gap + "".join(self._waiting).encode())
        self._waiting.clear()


class _Tail:
    """What is new in an event log: each line once, read from where the last look ended.

    The file is kept open, so that one which takes its place when a worker cuts it back is told from it, and what was
    still written to the old one is not lost.
    """

    def __init__(self, path: Path) -> None:
        """Starts behind what is there already: an earlier job has handed that on."""
        self._path = path
        self._stream = path.open("rb", buffering=0) if path.is_file() else None
        self._rest()

    def lines(self) -> list[Line]:
        """Returns the whole lines that have been written since."""
        replaced = self._replaced()
        try:
            lines = self._rest()
        except OSError:  # of a file that is gone, on a network's file system
            if not replaced:
                raise
            lines = []
        if replaced:
            seen = self._stream is not None
            self.close()
            self._stream = self._path.open("rb", buffering=0)
            first, *others = self._rest() or [{}]
            lines += others[first.get("kept", 0) if seen else 0 :]
        return [line for line in lines if "key" not in line]

    def _replaced(self) -> bool:
        if not self._path.is_file():
            return False
        return self._stream is None or not os.path.samestat(self._path.stat(), os.fstat(self._stream.fileno()))

    def _rest(self) -> list[Line]:
        if self._stream is None:
            return []
        start = min(self._stream.tell(), os.fstat(self._stream.fileno()).st_size)  # a full disk takes lines back
        self._stream.seek(start)
        content = self._stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._stream.seek(start + len(whole))
        return _parsed(whole)

    def close(self) -> None:
        """Lets go of the file."""
        if self._stream is not None:
            self._stream.close()


@contextlib.contextmanager
def following(event_log: EventLog, take: Callable[[Line], None]) -> Iterator[None]:
    """Hands every line that is written inside the block to `take`, from a thread; the last ones when it ends.

    What `take` raises is told on stderr, once, and the lines after it are handed on all the same.
    """
    done, tail, said = threading.Event(), _Tail(event_log.path), set[str]()

    def follow() -> None:
        last = False
        while not last:
            last = done.wait(EVERY)
            with _told(said):
                for line in tail.lines():
                    with _told(said):
                        take(line)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        tail.close()


@contextlib.contextmanager
def _told(said: set[str]) -> Iterator[None]:
    """Tells an error once instead of raising it: no training, and no later line, is lost to its progress."""
    try:
        yield
    except Exception as error:
        text = f"train: progress could not be shown: {type(error).__name__}: {one_line(error)[:200]}"
        if text not in said:
            said.add(text)
            with contextlib.suppress(OSError, ValueError):  # a stderr that nobody reads, or that is closed
                print(text, file=sys.stderr, flush=True)


def read(path: Path) -> list[Line]:
    """Returns every whole line of an event log; none where there is no file."""
    return _parsed(path.read_bytes()) if path.is_file() else []


def _parsed(content: bytes) -> list[Line]:
    """Returns the lines that end and are JSON objects: a kill may leave half of one."""
    lines = []
    for text in content.decode(errors="replace").split("\n")[:-1]:
        with contextlib.suppress(ValueError):
            lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict)]


def _stays(line: Line, step: int | None) -> bool:
    if line.get("event") in HAPPENED:
        return True
    return step is not None and bool(line["step"] <= step)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
