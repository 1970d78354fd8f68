"""The whole benchmark's ratios: each pair with the same judge, and nothing where a side is missing or not asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.curation import whole
from bench.curation.whole import figures

COSTS = {
    "rows": 1_000,
    "stock_small": {"seconds": 50.0, "cpu_seconds": 60.0},
    "stock_teacher": {"seconds": 900.0, "cpu_seconds": 1_200.0},
    "small": {"seconds": 20.0, "cpu_seconds": 30.0, "peak_mib": 2_048},
    "teacher": {"seconds": 30.0, "cpu_seconds": 40.0, "peak_mib": 4_096},
    "equivalent": {"seconds": 10.0, "cpu_seconds": 12.0, "peak_mib": 1_024},
    "data_juicer": {"seconds": 40.0, "cpu_seconds": 60.0},
}


def test_each_job_is_held_against_the_peer_that_does_the_same() -> None:
    assert figures(COSTS) == {
        "whole_x_stock": 30.0,
        "whole_x_stock_cpu": 30.0,
        "whole_small_x_stock": 2.5,
        "whole_small_x_stock_cpu": 2.0,
        "whole_x_data_juicer": 4.0,
        "whole_x_data_juicer_cpu": 5.0,
        "rows_per_s": 50.0,
        "cpu_ms_per_row": 30.0,
        "peak_gib": 2.0,
    }


def test_a_side_that_was_not_run_gives_no_ratio() -> None:
    found = figures({**{k: v for k, v in COSTS.items() if k not in ("teacher", "small")}, "data_juicer": None})
    assert set(found.values()) == {None}


@pytest.mark.parametrize(
    ("jobs", "sides"),
    [
        (("teacher",), {"stock_teacher", "teacher"}),
        (("small",), {"stock_small", "small"}),
        (("equivalent",), {"equivalent", "data_juicer"}),
        (whole.JOBS, {"stock_teacher", "teacher", "stock_small", "small", "equivalent", "data_juicer"}),
    ],
)
def test_only_the_jobs_asked_for_and_their_peers_run(
    monkeypatch: pytest.MonkeyPatch, jobs: tuple[str, ...], sides: set[str]
) -> None:
    trained: list[Path] = []

    def teacher(data: Path, folder: Path) -> Path:
        trained.append(data)
        return folder

    models: dict[str, Any] = {}
    monkeypatch.setenv("SOLOTUNE_TEST_DATA", "data")
    monkeypatch.setattr(whole, "teacher", teacher)
    monkeypatch.setattr(whole.dump, "write", lambda *_, **__: {})
    monkeypatch.setattr(whole, "_texts", lambda _: [("question", "answer")])
    monkeypatch.setattr(whole, "_stock", lambda _, model: {"seconds": 1.0, "cpu_seconds": 1.0})
    monkeypatch.setattr(whole, "_ours", lambda _, job, model: models.update({job: model}) or {})
    monkeypatch.setattr(whole, "_data_juicer", lambda *_: {})
    assert whole.compare(True, jobs).keys() - {"rows", "load", "planted"} == sides
    assert bool(trained) == ("teacher" in jobs)
    assert {job for job, model in models.items() if model is None} == {"equivalent"} & set(jobs)
