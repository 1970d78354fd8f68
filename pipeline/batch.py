"""The Ray seam: units of work out to the cluster's cores, one summary per Parquet part back.

Output contract: what travels through Ray is small (a unit's number, a part's path and counts); the rows themselves go
from Parquet part to Parquet part in the run folder. A part's name and content depend only on its unit, so a task that
Ray runs twice writes the same bytes twice, and no block layout or node count changes a result.
This module knows Ray; the row stages it carries do not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.run import Run

if TYPE_CHECKING:
    from pipeline.config import Read
    from pipeline.read import InputFile

PART_BYTES = 64 << 20  # of the tables that one part is put together from
PAGES_PER_UNIT = 200  # Markdown pages are small: one task reads many

Summary = dict[str, Any]


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


class _Actor:
    """Does units with what `make` returns, which it calls once: at the first unit, because an error in an actor's
    constructor reaches the driver as text, and a missing model must stay the error it is.

    Its constructor takes nothing: an actor may be started again, elsewhere, and its arguments would have to be there.
    """

    def __init__(self) -> None:
        self._work: Callable[[int], Iterator[Summary]] | None = None

    def ready(self) -> None:
        pass

    def do(self, made: list[Any], number: int) -> list[Summary]:
        """Returns the summaries of a unit. `made` holds a reference to `make`."""
        import ray

        if self._work is None:
            self._work = ray.get(made[0])()
        return list(self._work(number))


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


def spread(
    make: Callable[[], Callable[[int], Iterator[Summary]]], units: int, actors: int | None = None, num_gpus: float = 0
) -> Iterator[Summary]:
    """Does units 0 … `units`-1 on the cluster and yields their summaries as they come, in no fixed order.

    `make()` returns the function that does one unit. With `actors` so many actors call it once each, for what is costly
    to load; without, Ray Data's tasks call it for every unit. A unit whose process or node is lost is done again,
    elsewhere if need be, as often as it takes. An error that `work` raises ends the job.
    """
    if actors is not None:
        yield from _in_actors(make, units, actors, num_gpus)
        return
    import ray

    def do(rows: pa.Table) -> Iterator[pa.Table]:
        work = make()
        for number in rows["unit"].to_pylist():
            for summary in work(number):
                yield pa.Table.from_pylist([summary])

    _quiet()
    dataset = ray.data.from_items([{"unit": number} for number in range(units)], override_num_blocks=max(1, units))
    yield from dataset.map_batches(do, batch_size=1, batch_format="pyarrow", num_cpus=1).iter_rows()


def _in_actors(
    make: Callable[[], Callable[[int], Iterator[Summary]]], units: int, actors: int, num_gpus: float
) -> Iterator[Summary]:
    """See `spread`. An actor gets units once it is up: one for which there is no room keeps none waiting.

    Not Ray Data's actors: Ray Data hands them arguments from the object store, of which Ray warns every user.
    """
    import ray

    kind = ray.remote(num_cpus=1, num_gpus=num_gpus, max_restarts=-1, max_task_retries=-1)(_Actor)
    made, numbers, left = [ray.put(make)], iter(range(units)), units
    busy = {actor.ready.remote(): actor for actor in [kind.remote() for _ in range(min(actors, units))]}
    try:
        while left:
            (first,), _ = ray.wait(list(busy))
            actor, summaries = busy.pop(first), ray.get(first)
            if summaries is not None:
                left -= 1
                yield from summaries
            number = next(numbers, None)
            if number is not None:  # else it ends, and its core is free for one that has to be started again
                busy[actor.do.remote(made, number)] = actor
    finally:
        for actor in busy.values():
            ray.kill(actor)


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


# -- reading ----------------------------------------------------------------------------------------------------------


def work_units(files: Sequence[InputFile]) -> list[list[InputFile]]:
    """Returns what one task reads: a table, or a piece of a big one; Markdown pages by the hundred. In the order of
    `files`."""
    from pipeline.read import pieces

    pages = [file for file in files if file.format == "markdown"]
    units = [[piece] for file in files if file.format != "markdown" for piece in pieces(file)]
    return units + [pages[at : at + PAGES_PER_UNIT] for at in range(0, len(pages), PAGES_PER_UNIT)]


def read_unit(run: Run, unit: list[InputFile], number: int, settings: Read, most: int) -> Iterator[Summary]:
    """Reads a unit's files into `stages/read/NUMBER-PART.parquet` of at most `most` rows (WORKING schema)."""
    from pipeline.read import read

    waiting: list[pa.Table] = []
    part = 0

    def write() -> Summary:
        path = f"stages/read/{number:05d}-{part:05d}.parquet"
        table = pa.concat_tables(waiting).cast(schema.WORKING)
        run.write_table(path, table)
        return {"path": path, "rows": table.num_rows}

    for file in unit:
        for table in read(file, settings, most):
            rows = sum(t.num_rows for t in waiting) + table.num_rows
            if waiting and (rows > most or sum(t.nbytes for t in waiting) + table.nbytes > PART_BYTES):
                yield write()
                waiting, part = [], part + 1
            waiting.append(table)
    if waiting:
        yield write()


def read_parts(run: Run, files: Sequence[InputFile], settings: Read) -> Iterator[Summary]:
    """Reads every file, in parallel, into parts; yields `{path, rows}` for each."""
    from pipeline.read import rows

    units, most = work_units(files), rows.PART_ROWS  # of this process: a task takes it along

    def make() -> Callable[[int], Iterator[Summary]]:
        return lambda number: read_unit(run, units[number], number, settings, most)

    yield from spread(make, len(units))


# -- row stages -------------------------------------------------------------------------------------------------------


def forget(table: pa.Table) -> pa.Table:
    """Empties the text of rejected rows and everybody's known entities: neither is needed again, both are personal."""
    kept = pa.array(schema.unmarked(table))
    for name in ("prompt", "response"):
        table = schema.replaced(table, name, pc.if_else(kept, table[name], ""))
    return schema.replaced(table, "entities", [[]] * table.num_rows)


def screen_parts(
    run: Run, parts: Sequence[str], folder: str, make: Callable[[], Sequence[RowStage]]
) -> Iterator[Summary]:
    """Runs row stages over parts and writes a part of the same name, sorted by id, into `folder`.

    `make()` builds the stages, once per actor, of which there is one per core. Yields `{path, rows}` for each part.
    """

    def start() -> Callable[[int], Iterator[Summary]]:
        stages = make()

        def work(number: int) -> Iterator[Summary]:
            table = run.read_table(parts[number])
            for stage in stages:
                table = stage(table)
            table = forget(table).sort_by([("id", "ascending"), ("path", "ascending"), ("line", "ascending")])
            path = f"{folder}/{parts[number].rsplit('/', 1)[1]}"
            run.write_table(path, table)
            yield {"path": path, "rows": table.num_rows}

        return work

    yield from spread(start, len(parts), actors=cpus())
