"""A slice of the fuzz runs (`python -m tests.read.fuzz` and `fuzz_inputs`), and the seeds that once broke a rule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.read import fuzz, fuzz_inputs

FOUND = {
    10000024: "a Parquet timestamp beyond the year 9999",
    10000225: "a Parquet duration that Python has no value for",
    20000207: "a form feed in front of a text that begins with a quoted line",
    20001090: "a Parquet column whose name is not UTF-8",
    30004635: "a nested Parquet column whose name is not UTF-8",
}


@pytest.mark.parametrize("seed", FOUND, ids=FOUND.values())
def test_seeds_that_broke_a_rule(tmp_path: Path, seed: int) -> None:
    fuzz.trial(seed, tmp_path)


def test_well_formed_and_mutated_files(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for seed in range(150):
        counts += fuzz.trial(seed, tmp_path)
    assert counts["rows"] > 500
    assert counts["unreadable"] > 50
    assert counts["kept"] > 50
    assert counts["refused"] < 100


def test_archives_workbooks_documents_pages_and_mails(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for seed in range(100):
        counts += fuzz_inputs.trial(seed, tmp_path)
    assert counts["rows"] > 600
    assert 20 < counts["refused"] < 100
