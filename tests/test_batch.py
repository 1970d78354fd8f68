"""The Ray Data seam: every unit once, a failed unit by its own error, text forgotten where it must be."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import batch, schema
from pipeline.errors import InputError
from pipeline.run import Run


def test_forget_empties_rejected_text_and_all_entities(make_working: Any) -> None:
    entities = [{"type": "NAME", "text": "Anna Schmidt"}]
    table = make_working([{"prompt": "a", "entities": entities}, {"prompt": "b", "entities": entities}])
    table = batch.forget(schema.mark(table, np.array([True, False]), "language", "language"))
    assert table.schema == schema.WORKING
    assert table["prompt"].to_pylist() == ["", "b"]
    assert table["entities"].to_pylist() == [[], []]


@pytest.mark.ray
@pytest.mark.parametrize("blocks", [2, 4, 7])
def test_every_unit_is_done_once(ray_session: None, ray_blocks: Callable[[int], None], blocks: int) -> None:
    ray_blocks(blocks)

    def make() -> Callable[[int], Iterator[batch.Summary]]:
        return lambda number: iter([{"unit": number, "square": number * number}])

    done = list(batch.spread(make, 5, actors=1))
    assert sorted(row["square"] for row in done) == [0, 1, 4, 9, 16]


@pytest.mark.ray
@pytest.mark.parametrize("actors", [None, 2])
def test_a_unit_whose_process_is_lost_is_done_again(ray_session: None, actors: int | None, tmp_path: Path) -> None:
    def make() -> Callable[[int], Iterator[batch.Summary]]:
        def work(number: int) -> Iterator[batch.Summary]:
            seen = tmp_path / str(number)
            if number == 1 and not seen.exists():
                seen.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield {"unit": number}

        return work

    done = [row["unit"] for row in batch.spread(make, 4, actors=actors)]
    assert sorted(done) == [0, 1, 2, 3]
    assert (tmp_path / "1").exists()


@pytest.mark.ray
def test_actors_without_room_keep_nothing_waiting_and_ray_has_nothing_to_say(
    ray_session: None, capfd: pytest.CaptureFixture[str]
) -> None:
    def make() -> Callable[[int], Iterator[batch.Summary]]:
        return lambda number: iter([{"unit": number}])

    done = [row["unit"] for row in batch.spread(make, 9, actors=5)]  # the session has two cores
    assert sorted(done) == list(range(9))
    assert capfd.readouterr() == ("", "")


@pytest.mark.ray
@pytest.mark.parametrize("actors", [None, 2])
def test_an_error_in_an_actor_reaches_the_caller(ray_session: None, actors: int | None) -> None:
    import jobs

    def make() -> Callable[[int], Iterator[batch.Summary]]:
        def work(number: int) -> Iterator[batch.Summary]:
            raise InputError("unit 0 is odd")
            yield {}

        return work

    with pytest.raises(Exception, match="unit 0 is odd") as caught:
        list(batch.spread(make, 1, actors=actors))
    ours = jobs._deliberate(caught.value)
    assert isinstance(ours, InputError)


@pytest.mark.ray
def test_parts_are_screened_sorted_and_written_under_their_names(
    ray_session: None, tmp_path: Path, make_working: Any
) -> None:
    run = Run.open(str(tmp_path))
    run.write_table("stages/read/a.parquet", make_working([{"prompt": text} for text in "dcba"]))
    found = list(batch.screen_parts(run, ["stages/read/a.parquet"], "stages/screen", list))
    assert found == [{"path": "stages/screen/a.parquet", "rows": 4}]
    ids = run.read_table("stages/screen/a.parquet")["id"].to_pylist()
    assert ids == sorted(ids)


@pytest.mark.ray
def test_stream_yields_as_it_goes(ray_session: None) -> None:
    assert list(batch.stream(lambda: iter([{"a": 1}, {"a": 2}]))) == [{"a": 1}, {"a": 2}]


def test_parts_are_bounded_in_rows_and_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long rows must not pile up to `PART_ROWS` of them in memory."""
    from pipeline.config import Columns, Read, TableSource
    from pipeline.read import discover

    monkeypatch.setattr(batch, "PART_BYTES", 64 << 10)
    monkeypatch.setattr("pipeline.read.rows.PART_TEXT", 16 << 10)
    lines = "".join(f"{number},{'x' * 1024}\n" for number in range(80))
    (tmp_path / "t.csv").write_text(f"question,answer\n{lines}")
    settings = Read(tables=(TableSource(match="*", columns=Columns(prompt="question", response="answer")),))
    files = discover([str(tmp_path / "t.csv")], settings).files
    run = Run.open(str(tmp_path / "run"))
    assert [part["rows"] for part in batch.read_unit(run, list(files), 0, settings, 2_000)] == [48, 32]


def test_a_big_table_is_several_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.config import Columns, Read, TableSource
    from pipeline.read import discover, read

    monkeypatch.setattr("pipeline.read.pieces.__defaults__", (1000, 7))
    lines = "".join(f'{number},"a\n{number}"\n' for number in range(500))
    (tmp_path / "t.csv").write_text(f"question,answer\n{lines}")
    settings = Read(tables=(TableSource(match="*", columns=Columns(prompt="question", response="answer")),))
    files = discover([str(tmp_path / "t.csv")], settings).files
    units = batch.work_units(files)
    assert len(units) > 3
    found = [
        row["prompt"] for unit in units for file in unit for part in read(file, settings) for row in part.to_pylist()
    ]
    assert found == [str(number) for number in range(500)]
