"""What is printed: every count that must add up."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from pipeline.report import counts_table


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=120, file=io.StringIO())


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("┃", "│").strip("│").split("│")]


def test_the_table_has_a_column_per_source_and_a_line_per_reason(metrics: dict[str, Any], console: Console) -> None:
    counts_table.counts(metrics, console)
    lines = [cells(line) for line in console.export_text().splitlines()]
    assert ["stage", "rows", "threshold", "tickets", "wiki", "2 sources"] in lines
    assert ["", "read", "", "21", "1", "22"] in lines
    assert ["", "kept", "", "20", "1", "21"] in lines
    assert ["language", "language", "0.95", "1", "", "1"] in lines


def test_many_sources_are_summed(metrics: dict[str, Any], console: Console) -> None:
    source = metrics["sources"]["wiki"]
    metrics["sources"] |= {f"part-{n}": source for n in range(8)}
    counts_table.counts(metrics, console)
    lines = [cells(line) for line in console.export_text().splitlines()]
    assert ["stage", "rows", "threshold", "10 sources"] in lines
    assert ["", "read", "", "30"] in lines


def test_the_audits_follow(metrics: dict[str, Any], console: Console) -> None:
    counts_table.counts(metrics, console)
    printed = " ".join(console.export_text().split())
    assert "leaks: A second, stricter search" in printed
    assert "recall 75.0 %" in printed
