"""The one way into Ray: units of work out to the cluster's cores with Ray Data, calls as Ray tasks.

Output contract: what travels through Ray is small (a unit's number, a part's path and counts); the rows themselves go
from Parquet part to Parquet part in the run folder. A part's name and content depend only on its unit, so a task that
Ray runs twice writes the same bytes twice, and no block layout or node count changes a result.
This module knows Ray; the row stages it carries do not.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import pyarrow as pa

Summary = dict[str, Any]
Work = Callable[[int], Iterator[Summary]]
"""Does the unit of a number and yields its summaries."""

_at_hand: dict[str, Work] = {}
"""Of a worker process: what it did its last units with, by the token of the `spread`. It holds one entry at most."""


class RowStage(Protocol):
    """A step that judges or rewrites rows. One instance lives in one Ray actor; it never drops or reorders a row."""

    def __call__(self, table: pa.Table) -> pa.Table: ...


def slices(sizes: Iterable[int], most: int) -> Iterator[slice]:
    """Yields consecutive slices of items whose sizes add up to at most `most`; a larger item is a slice of its own."""
    start = end = held = 0
    for end, size in enumerate(sizes, 1):
        if held + size > most and end - 1 > start:
            yield slice(start, end - 1)
            start, held = end - 1, 0
        held += size
    if end > start:
        yield slice(start, end)


def cpus() -> int:
    """Returns how many CPU cores the Ray cluster has."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def gpus() -> int:
    """Returns how many GPUs the Ray cluster has."""
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def _quiet() -> None:
    """Keeps Ray Data's own progress and execution plans out of a job's output: a `Meter` says what a person wants."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # says that its bars are off
    for name in ("ray.data.exceptions", "ray.data._internal.execution.streaming_executor_state"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # log in full an error that is raised as well
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def spread(make: Callable[[], Work], units: int, on_gpu: bool = False) -> Iterator[Summary]:
    """Does units 0 … `units`-1 with Ray Data and yields their summaries as they come, in no fixed order.

    `make()` returns the function that does one unit; a worker process calls it once for all its units, so it may load
    a model. `on_gpu`: a unit at a time has a GPU to itself, where the cluster has one. A unit whose process or node is
    lost is done again, elsewhere if need be, as often as it takes (Ray Data's own policy). An error that `make` or
    `work` raises ends the job.
    """
    import ray

    token = uuid.uuid4().hex

    def do(rows: pa.Table) -> Iterator[pa.Table]:
        work = _kept(token, make)
        for number in rows["unit"].to_pylist():
            for summary in work(number):
                yield pa.Table.from_pylist([summary])

    _quiet()
    dataset = ray.data.from_items([{"unit": number} for number in range(units)], override_num_blocks=max(1, units))
    done = dataset.map_batches(
        do, batch_size=1, batch_format="pyarrow", num_cpus=1, num_gpus=1 if on_gpu and gpus() else 0
    )
    yield from done.iter_rows()


def _kept(token: str, make: Callable[[], Work]) -> Work:
    """Returns what `make` has made in this process for a token; what was made for another token goes.

    Tasks and not Ray Data's actors: those get arguments from the object store, of which Ray warns every user, since an
    actor that is started again may not find them.
    """
    if token not in _at_hand:
        _at_hand.clear()
        _at_hand[token] = make()
    return _at_hand[token]


def stream(work: Callable[[], Iterator[Summary]]) -> Iterator[Summary]:
    """Runs one function where the hardware is and yields what it yields: on a GPU when the cluster has one, else on
    all the cores of a node."""
    import ray

    most = max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
    resources = {"num_cpus": 1, "num_gpus": 1} if gpus() else {"num_cpus": int(most)}

    def task() -> Iterator[Summary]:
        for step in work():  # not `yield from`: Ray sends into the generator, and any iterator may be given
            yield step

    for reference in ray.remote(**resources, num_returns="streaming", max_retries=0)(task).remote():
        yield ray.get(reference)


def each(task: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Returns what a Ray task of one core answers to each call, in order."""
    import ray

    remote = ray.remote(num_cpus=1)(task)
    return list(ray.get([remote.remote(*call) for call in calls]))


def shared(value: Any) -> Any:
    """Returns a reference that tasks receive as the value: what many calls have in common travels once."""
    import ray

    return ray.put(value)
