"""The event log of a training: lines of JSON, appended while it runs and cut back where it is resumed.

Output contract: the first line is `{"key": ...}`, the training the file belongs to. Then come, in the order in which
they happened, a line per optimiser step (`loss`), per evaluation (`eval_loss`) and per event (`event`, and `text`: a
sentence for people), each with its `step`. A number that is not finite is null. Lines that cannot be written, because
the disk is full, are kept and written with the next ones; half a line is never left standing before a whole one.
This module does not know why something happened.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.storage import append_whole, storage_errors, sweep, write_whole

Line = dict[str, Any]
EVERY = 0.5  # seconds between two looks at an event log that is followed
HAPPENED = {"resumed", "preempted", "save_failed", "out_of_memory", "damaged", "worker_lost"}
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
        if read(self.path)[:1] != [{"key": key}]:
            self._write_all([{"key": key}])

    def cut(self, key: str, step: int | None) -> None:
        """Leaves what the training `key` had written when it had taken `step` steps (None: when it began)."""
        self.begin(key)
        self._write_all([line for line in read(self.path) if _stays(line, step)])

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
        with self.path.open("ab", buffering=0) as stream:
            append_whole(stream, "".join(self._waiting).encode())
        self._waiting.clear()


@contextlib.contextmanager
def following(event_log: EventLog, take: Callable[[Line], None]) -> Iterator[None]:
    """Hands every line that is written inside the block to `take`, from a thread; the last ones when it ends."""
    done, seen = threading.Event(), len(event_log.read())  # what is there already an earlier job has handed on

    def follow() -> None:
        position, last = seen, False
        while not last:
            last = done.wait(EVERY)
            lines = event_log.read()
            for line in lines[min(position, len(lines)) :]:  # a worker that began again has cut the event log back
                take(line)
            position = len(lines)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def read(path: Path) -> list[Line]:
    """Returns every whole line of an event log; none where there is no file."""
    lines: list[Line] = []
    for text in path.read_bytes().decode(errors="replace").split("\n")[:-1] if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _stays(line: Line, step: int | None) -> bool:
    if "key" in line or line.get("event") in HAPPENED:
        return True
    return step is not None and bool(line["step"] <= step)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
