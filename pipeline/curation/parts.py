"""The dump as Parquet parts: read into parts, and parts through row stages, with all the cluster's cores.

Output contract: a part holds at most `rows.PART_ROWS` rows and `PART_BYTES` (WORKING schema); its name and content
depend on its unit alone. Once a row stage has rejected a row, the part has its text no more.
This module decides nothing about rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from pipeline import batch, schema
from pipeline.config import Read
from pipeline.read import InputFile, pieces, read, rows
from pipeline.read.inputs.input_file import PAGES
from pipeline.run import Run

PART_BYTES = 64 << 20  # of the tables that one part is put together from
PAGES_PER_UNIT = 200  # pages are small: one task reads many


def work_units(files: Sequence[InputFile]) -> list[list[InputFile]]:
    """Returns what one task reads: a table, or a piece of a big one; pages by the hundred. In the order of `files`."""
    pages = [file for file in files if file.format in PAGES]
    units = [[piece] for file in files if file.format not in PAGES for piece in pieces(file)]
    return units + [pages[at : at + PAGES_PER_UNIT] for at in range(0, len(pages), PAGES_PER_UNIT)]


def read_unit(run: Run, unit: list[InputFile], number: int, settings: Read, most: int) -> Iterator[batch.Summary]:
    """Reads a unit's files into `stages/read/NUMBER-PART.parquet` of at most `most` rows (WORKING schema)."""
    waiting: list[pa.Table] = []
    part = 0

    def write() -> batch.Summary:
        path = f"stages/read/{number:05d}-{part:05d}.parquet"
        table = pa.concat_tables(waiting).cast(schema.WORKING)
        run.write_table(path, table)
        return {"path": path, "rows": table.num_rows}

    for file in unit:
        for table in read(file, settings, most):
            count = sum(t.num_rows for t in waiting) + table.num_rows
            if waiting and (count > most or sum(t.nbytes for t in waiting) + table.nbytes > PART_BYTES):
                yield write()
                waiting, part = [], part + 1
            waiting.append(table)
    if waiting:
        yield write()


def read_parts(run: Run, files: Sequence[InputFile], settings: Read) -> Iterator[batch.Summary]:
    """Reads every file, in parallel, into parts; yields `{path, rows}` for each."""
    units, most = work_units(files), rows.PART_ROWS  # of this process: a task takes it along

    def make() -> batch.Work:
        return lambda number: read_unit(run, units[number], number, settings, most)

    yield from batch.spread(make, len(units))


def screening(
    run: Run, parts: Sequence[str], folder: str, make: Callable[[], Sequence[batch.RowStage]]
) -> Callable[[], batch.Work]:
    """Returns the work of `batch.spread` that runs row stages over parts, one unit a part.

    It writes a part of the same name, sorted by id, into `folder` and yields its `{path, rows}`. `make()` builds the
    stages, once per worker process.
    """

    def start() -> batch.Work:
        stages = make()

        def work(number: int) -> Iterator[batch.Summary]:
            table = run.read_table(parts[number])
            for stage in stages:
                table = stage(table)
            table = schema.forget(table).sort_by([("id", "ascending"), ("path", "ascending"), ("line", "ascending")])
            path = f"{folder}/{parts[number].rsplit('/', 1)[1]}"
            run.write_table(path, table)
            yield {"path": path, "rows": table.num_rows}

        return work

    return start
