"""What the curation benchmarks share: rows of the bundled sample and a clock.

Output contract: `tickets` gives WORKING rows, `seconds` the best of two runs of some work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config import Read

ROOT = Path(__file__).parents[2]
LANGUAGES = ("en", "de")


def tickets(rows: int) -> pa.Table:
    """Returns the first `rows` readable tickets of the bundled sample (WORKING)."""
    from pipeline import schema
    from pipeline.read import discover, read

    files = discover([str(ROOT / "assets" / "sample" / "dump")], Read()).files
    table = pa.concat_tables([table for file in files for table in read(file, Read())])
    return table.filter(pa.array(schema.unmarked(table))).slice(0, rows)


def seconds(work: Callable[[], Any]) -> float:
    """Returns the best of two runs."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
