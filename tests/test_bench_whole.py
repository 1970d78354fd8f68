"""The whole benchmark's ratios: each pair with the same judge, and nothing where a side is missing."""

from __future__ import annotations

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
