"""Progress of a job, in a terminal and in the log of a submitted job.

Output contract: a live bar on a terminal; elsewhere (`ray job submit` streams a log) a plain line every few seconds
and one when the work is done. This module measures nothing that ends up in a run folder.
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

EVERY_SECONDS = 3.0


class Meter:
    """Counts `unit`s towards `total` (None: unknown). A context manager: call `advance` as work is done."""

    def __init__(self, console: Console, title: str, total: int | None, unit: str = "rows") -> None:
        self._console, self._title, self._total, self._unit = console, title, total, unit
        self._done, self._reported, self._started, self._printed = 0, -1, time.monotonic(), time.monotonic()
        self._live: Progress | None = None
        if console.is_terminal:
            title_column = TextColumn("{task.description:<28}", markup=False)
            columns = (title_column, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._live = Progress(*columns, console=console)

    def __enter__(self) -> Meter:
        if self._live is not None:
            self._live.start()
            self._live.add_task(self._title, total=self._total)
        return self

    def advance(self, count: int) -> None:
        """Counts `count` more units as done."""
        self._done += count
        if self._live is not None:
            self._live.advance(self._live.task_ids[0], count)
        elif time.monotonic() - self._printed > EVERY_SECONDS and self._done != self._total:
            self._print()

    def _print(self) -> None:
        self._printed, self._reported = time.monotonic(), self._done
        seconds = max(self._printed - self._started, 1e-9)
        of = f"/{self._total:,}" if self._total is not None else ""
        rate = f"{self._done / seconds:,.0f} {self._unit}/s"
        line = f"  {self._title:<34} {self._done:>9,}{of} {self._unit}  {seconds:6.1f} s  {rate}"
        self._console.print(line, markup=False)

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
        elif kind is None and self._done != self._reported:
            self._print()
