"""What the reader's tests share: write a file, read it back through the package's door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import schema
from pipeline.config import Columns, Read, TableSource
from pipeline.read import discover, read
from pipeline.read.rows import PART_ROWS

Rows = list[dict[str, Any]]


@pytest.fixture
def qa() -> Read:
    """Settings that map every table: question, answer and the optional id and topic."""
    return Read(tables=(TableSource(match="*", columns=Columns(prompt="question", response="answer")),))


@pytest.fixture
def read_rows() -> Callable[..., Rows]:
    """Reads one input whole; checks the schema and the size of every part on the way."""

    def work(place: Path | str, settings: Read | None = None, most: int = PART_ROWS) -> Rows:
        settings = settings or Read()
        rows: Rows = []
        for file in discover([str(place)], settings).files:
            for part in read(file, settings, most):
                assert part.schema == schema.WORKING
                assert 0 < part.num_rows <= most
                part.validate(full=True)
                rows += part.to_pylist()
        return rows

    return work
