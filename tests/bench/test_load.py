"""The load generator of `bench.serving`: clients share a load without a rest, and every request has its answer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.exported import exported
from bench.serving import load, servers
from bench.serving.load import Load, Target
from tests.serve_app.client import KEY
from tests.serve_app.test_load import service


@pytest.mark.parametrize(("requests", "at_once", "clients"), [(1000, 1000, 8), (256, 64, 8), (10, 3, 2), (7, 7, 1)])
def test_parts_are_the_whole(requests: int, at_once: int, clients: int) -> None:
    parts = [Load(requests, at_once, first=5).share(at, clients) for at in range(clients)]
    assert [number for part in parts for number in range(part.first, part.first + part.requests)] == list(
        range(5, 5 + requests)
    )
    assert sum(part.at_once for part in parts) == at_once
    assert max(part.at_once for part in parts) - min(part.at_once for part in parts) <= 1


def test_several_clients_put_on_one_load() -> None:
    with service(0.0, 3) as (engine, _, base):
        target = Target(f"{base}/v1", engine.model_id, KEY)
        answers, seconds = load.run(target, Load(10, 4, max_tokens=3), clients=2)
        few, _ = load.run(target, Load(5, 1, max_tokens=3), clients=2)
        arrivals, _ = load.run(target, Load(5, rate=100.0, max_tokens=3), clients=2)
    assert [[answer.status for answer in each] for each in (answers, few, arrivals)] == [
        [200] * 10,
        [200] * 5,
        [200] * 5,
    ]
    assert load.speed(answers, seconds) > 0
    assert load.lost(answers) == 0


def test_the_engine_alone_measures_one_load_after_the_other(tmp_path: Path) -> None:
    settings = {
        "engine": "fake",
        "fake": {"interval": 0.01, "length": 0},
        "max_new_tokens": 64,
        "max_input_tokens": 512,
    }
    run = exported(tmp_path / "run", servers.ROOT / "assets" / "tiny-base").local()
    with servers.bare(run, settings, tmp_path / "log") as measure:
        found = [measure({"requests": count, "at_once": count, "max_tokens": 5}) for count in (1, 4)]
    assert all(min(one.values()) > 0 for one in found)


def test_an_engine_that_does_not_load_is_told_with_its_words(tmp_path: Path) -> None:
    def ask() -> None:
        with servers.bare(tmp_path, {"engine": "hf"}, tmp_path / "log") as measure:
            for _ in range(600):
                if "is no run folder" in (tmp_path / "log").read_text():
                    break
                time.sleep(0.05)
            measure({"requests": 1, "at_once": 1, "max_tokens": 1})

    with pytest.raises(RuntimeError, match="is no run folder"):
        ask()
