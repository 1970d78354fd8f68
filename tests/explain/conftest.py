"""The run folder of `tests.explain.small_run`."""

from __future__ import annotations

import pytest

from pipeline.run import Run
from tests.explain.small_run import write


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write(tmp_path_factory.mktemp("why"))
