"""Little room: a hundred input files and tables larger than the object store, on a node with 80 MiB of it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import OBJECT_STORE, QUIET, SAMPLE, Cluster, cluster, config, curate, end, left_over, outside

pytestmark = pytest.mark.cluster
FILES, ROWS = 100, 10

# What curation does with the decisions on all rows, at three times the size of the store: put once, read by every unit.
LARGE = """
import numpy, ray
from pipeline import batch

ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
tables = [ray.put(numpy.full(SIZE // 8, number, dtype=numpy.int64)) for number in range(3)]

def make():
    return lambda number: iter([{"unit": number, "sum": float(sum(ray.get(t)[::1000].sum() for t in tables))}])

rows = list(batch.spread(make, 6))
assert sorted(row["unit"] for row in rows) == list(range(6))
assert len({row["sum"] for row in rows}) == 1 and rows[0]["sum"] > 0
print("done")
"""


@pytest.fixture(scope="module")
def small() -> Iterator[Cluster]:
    with cluster(2) as nodes:
        yield nodes


def test_a_hundred_files(small: Cluster, tmp_path: Path) -> None:
    with (SAMPLE / "zendesk.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(line for line in stream if "\0" not in line))
    whole = [row for row in rows[1:] if len(row) == len(rows[0])][: FILES * ROWS]
    assert len(whole) == FILES * ROWS
    (tmp_path / "dump").mkdir()
    for number in range(FILES):
        sink = io.StringIO()
        csv.writer(sink).writerows([rows[0], *whole[number * ROWS : (number + 1) * ROWS]])
        (tmp_path / "dump" / f"tickets-{number:03d}.csv").write_text(sink.getvalue(), encoding="utf-8")
    run, log = tmp_path / "run", tmp_path / "log"
    environment = {"RAY_ADDRESS": small.address, **small.credentials}
    job = curate(config(tmp_path / "config.yaml"), str(tmp_path / "dump"), str(run), log, environment)
    try:
        assert job.wait(400) == 0, log.read_text()
    finally:
        end(job)
    sources = json.loads((run / "metrics" / "curate.json").read_text())["sources"]
    assert len(sources) == FILES
    assert {source["read"] for source in sources.values()} == {ROWS}
    assert all(source["read"] == source["kept"] + sum(source["rejected"].values()) for source in sources.values())
    assert left_over(run) == []


def test_tables_larger_than_the_object_store_go_to_the_disk(small: Cluster) -> None:
    code = LARGE.replace("SIZE", str(OBJECT_STORE))
    environment = {**outside(), **QUIET, "RAY_ADDRESS": small.address, **small.credentials}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == "done", done.stderr
