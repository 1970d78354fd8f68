"""Parts: bounded in rows and bytes, screened and sorted, a big table cut into several units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import batch
from pipeline.config import Columns, Read, TableSource
from pipeline.curation import parts
from pipeline.read import discover, read
from pipeline.run import Run


@pytest.mark.ray
def test_parts_are_screened_sorted_and_written_under_their_names(
    ray_session: None, tmp_path: Path, make_working: Any
) -> None:
    run = Run.open(str(tmp_path))
    run.write_table("stages/read/a.parquet", make_working([{"prompt": text} for text in "dcba"]))
    found = list(batch.spread(parts.screening(run, ["stages/read/a.parquet"], "stages/screen", list), 1))
    assert found == [{"path": "stages/screen/a.parquet", "rows": 4}]
    ids = run.read_table("stages/screen/a.parquet")["id"].to_pylist()
    assert ids == sorted(ids)


def test_parts_are_bounded_in_rows_and_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long rows must not pile up to `PART_ROWS` of them in memory."""
    monkeypatch.setattr(parts, "PART_BYTES", 64 << 10)
    monkeypatch.setattr("pipeline.read.rows.PART_TEXT", 16 << 10)
    lines = "".join(f"{number},{'x' * 1024}\n" for number in range(80))
    (tmp_path / "t.csv").write_text(f"question,answer\n{lines}")
    settings = Read(tables=(TableSource(match="*", columns=Columns(prompt="question", response="answer")),))
    files = discover([str(tmp_path / "t.csv")], settings).files
    run = Run.open(str(tmp_path / "run"))
    assert [part["rows"] for part in parts.read_unit(run, list(files), 0, settings, 2_000)] == [48, 32]


def test_a_big_table_is_several_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.read.pieces.__defaults__", (1000, 7))
    lines = "".join(f'{number},"a\n{number}"\n' for number in range(500))
    (tmp_path / "t.csv").write_text(f"question,answer\n{lines}")
    settings = Read(tables=(TableSource(match="*", columns=Columns(prompt="question", response="answer")),))
    files = discover([str(tmp_path / "t.csv")], settings).files
    units = parts.work_units(files)
    assert len(units) > 3
    found = [
        row["prompt"] for unit in units for file in unit for part in read(file, settings) for row in part.to_pylist()
    ]
    assert found == [str(number) for number in range(500)]
