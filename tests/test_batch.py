"""The way into Ray: every unit once, a failed unit by its own error, models loaded once per process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import batch
from pipeline.errors import InputError


@pytest.mark.ray
@pytest.mark.parametrize("blocks", [2, 4, 7])
def test_every_unit_is_done_once(ray_session: None, ray_blocks: Callable[[int], None], blocks: int) -> None:
    ray_blocks(blocks)

    def make() -> batch.Work:
        return lambda number: iter([{"unit": number, "square": number * number}])

    done = list(batch.spread(make, 5))
    assert sorted(row["square"] for row in done) == [0, 1, 4, 9, 16]


@pytest.mark.ray
def test_a_unit_whose_process_is_lost_is_done_again(ray_session: None, tmp_path: Path) -> None:
    def make() -> batch.Work:
        def work(number: int) -> Iterator[batch.Summary]:
            seen = tmp_path / str(number)
            if number == 1 and not seen.exists():
                seen.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield {"unit": number}

        return work

    done = [row["unit"] for row in batch.spread(make, 4)]
    assert sorted(done) == [0, 1, 2, 3]
    assert (tmp_path / "1").exists()


@pytest.mark.ray
def test_an_error_in_a_unit_reaches_the_caller(ray_session: None) -> None:
    import jobs

    def make() -> batch.Work:
        def work(number: int) -> Iterator[batch.Summary]:
            raise InputError("unit 0 is odd")
            yield {}

        return work

    with pytest.raises(Exception, match="unit 0 is odd") as caught:
        list(batch.spread(make, 1))
    ours = jobs._deliberate(caught.value)
    assert isinstance(ours, InputError)


@pytest.mark.ray
def test_stream_yields_as_it_goes(ray_session: None) -> None:
    assert list(batch.stream(lambda: iter([{"a": 1}, {"a": 2}]))) == [{"a": 1}, {"a": 2}]


@pytest.mark.ray
def test_a_process_makes_its_work_once_and_ray_has_nothing_to_say(
    ray_session: None, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def make() -> batch.Work:
        (tmp_path / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        return lambda number: iter([{"unit": number, "process": os.getpid()}])

    done = list(batch.spread(make, 40))
    assert sorted(row["unit"] for row in done) == list(range(40))
    assert len(list(tmp_path.iterdir())) == len({row["process"] for row in done})
    assert capfd.readouterr() == ("", "")


def test_work_of_another_spread_is_not_kept() -> None:
    def one(number: int) -> Iterator[batch.Summary]:
        return iter([{"one": number}])

    def two(number: int) -> Iterator[batch.Summary]:
        return iter([{"two": number}])

    assert (batch._kept("a", lambda: one), batch._kept("b", lambda: two)) == (one, two)
    assert batch._kept("b", lambda: one) is two
    assert batch._kept("a", lambda: two) is two
