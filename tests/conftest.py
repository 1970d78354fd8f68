"""What the tests share: rows of the working schema, and the session's one Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from pipeline import schema


def working(rows: list[dict[str, Any]]) -> pa.Table:
    """Makes a WORKING table; a row gives what it cares about, the rest is filled in."""
    full = []
    for number, row in enumerate(rows, 1):
        filled: dict[str, Any] = {
            "source": "tickets",
            "source_id": str(number),
            "kind": "qa",
            "prompt": "",
            "response": "",
            "origin": "real",
            "path": "tickets.csv",
            "line": number,
            "entities": [],
            "pii": [],
            **row,
        }
        filled.setdefault("id", schema.content_id(filled["kind"], filled["prompt"] or "", filled["response"] or ""))
        full.append(filled)
    return pa.Table.from_pylist(full, schema=schema.WORKING)


@pytest.fixture
def make_working() -> Any:
    return working


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One private Ray for the whole test session: two CPUs, no dashboard, nothing left behind."""
    import os

    import ray

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the jobs do: two cores are shared by several processes
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=300 << 20
    )
    yield
    ray.shutdown()
