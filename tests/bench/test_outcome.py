"""What was learnt: the table against figures worked out anew, and the cells on a tiny model without Ray."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.outcome import cells, run, table
from pipeline.errors import UserError
from tests.small_model import begin_curated, make_model

ROOT = Path(__file__).parents[2]
WITHOUT = """
import runpy, sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *more):
        return None if name.split(".")[0] in ("ray", "bitsandbytes") else self.finder.find_spec(name, *more)

sys.meta_path = [Without(finder) for finder in sys.meta_path]
runpy.run_module("bench.outcome", run_name="__main__", alter_sys=True)
"""


def counts(rows: int, nats: float, seed: int) -> list[list[float]]:
    draw = np.random.default_rng(seed)
    return [[nats * n * draw.uniform(0.8, 1.2), n] for n in (5.0 + row % 7 for row in range(rows))]


def test_figures_pool_the_seeds_and_give_both_intervals() -> None:
    base, tuned = counts(40, 2.0, 1), [counts(40, 1.0 + seed / 50, seed) for seed in (2, 3, 4)]
    found = table.compare("perplexity", base, tuned)

    def score(rows: Any) -> float:
        return math.exp(sum(row[0] for row in rows) / sum(row[1] for row in rows))

    changes = [score(rows) / score(base) - 1 for rows in tuned]
    assert found["base"] == pytest.approx(score(base))
    assert found["tuned"] == pytest.approx(score([row for rows in tuned for row in rows]))
    assert found["change"] == pytest.approx(found["tuned"] / found["base"] - 1)
    assert found["rows"][0] < found["change"] < found["rows"][1] < 0
    assert found["seeds"] == pytest.approx(4.302653 * np.std(changes, ddof=1) / math.sqrt(3), rel=1e-5)


def test_one_seed_has_no_interval_over_seeds() -> None:
    found = table.compare("rouge_l", [[0.1, 1.0], [0.2, 1.0]], [[[0.4, 1.0], [0.4, 1.0]]])
    assert (found["change"], found["seeds"]) == (pytest.approx(0.25), None)


def test_a_set_without_questions_has_no_answers() -> None:
    measured = {"perplexity": counts(4, 2.0, 1), "bits_per_byte": counts(4, 1.0, 1), "general": counts(4, 1.0, 2)}
    found = {"base": {"wiki": {"counts": measured}}, "cells": {"wiki/qv/0": {"counts": measured}}}
    header, _, row = table.markdown(found).split("\n")
    assert row.startswith("| wiki | q,v, 10 % general text | ")
    assert "+0.0 %" in row
    assert " | no questions | " in row
    assert header.count("|") == row.count("|")


def test_the_most_telling_cells_come_first() -> None:
    named = [str(cell) for cell in cells.cells({"support_qa": True, "wiki": False}, 2, [])]
    assert named[:4] == ["support_qa/general/0", "support_qa/general/1", "wiki/general/0", "wiki/general/1"]
    assert named[-2:] == ["support_qa/synthesis/0", "support_qa/synthesis/1"]
    assert [str(cell) for cell in cells.cells({"wiki": False}, 2, ["*/qv/*"])] == ["wiki/qv/0", "wiki/qv/1"]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A prepared folder of one set, and text of some sections for the two general parts."""
    place = tmp_path / "prepared"
    begin_curated(place / "support_qa")
    for folder in (cells.MIXED, cells.KEPT):
        (place / folder).mkdir(parents=True)
        text = "\n\n".join(
            f"## Part {n}\n\nThe {folder} text of part {n} is about transfers and limits." for n in range(20)
        )
        (place / folder / "text.md").write_text(text)
    return place


def command(prepared: Path, model: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a Python that has neither Ray nor bitsandbytes, as the GPU's host."""
    results = prepared.parent / "results.json"
    arguments = ["run", "--prepared", prepared, "--model", model, "--json", results, "--quick", *more]
    line = [sys.executable, "-c", WITHOUT, *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_cells_run_without_ray_and_are_not_run_again(prepared: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    first = command(prepared, model, "--only", "support_qa/general/*", "*/qv/*")
    assert first.returncode == 0, first.stderr
    *told, _, _, general, qv = first.stdout.strip().split("\n")
    assert [line.split(":")[0] for line in told] == ["support_qa/general/0", "support_qa/qv/0"]
    assert general.startswith("| support_qa | all-linear")
    assert qv.startswith("| support_qa | q,v")
    found = json.loads((tmp_path / "results.json").read_text())
    done = found["cells"]["support_qa/general/0"]
    assert done["general"]["rows"] > 0
    assert {name: len(rows) for name, rows in done["counts"].items()} == {
        "perplexity": 6,
        "bits_per_byte": 6,
        "general": 4,
        "rouge_l": 4,
    }
    results = tmp_path / "results.json"
    told.clear()
    again = run.run(model, prepared, results, 1, ["*/general/*", "*/qv/*"], scale=cells.QUICK, tell=told.append)
    assert (again, told) == (found, [])
    with pytest.raises(UserError, match="another file"):
        run.run(model, prepared, results, 1, scale=cells.FULL)
