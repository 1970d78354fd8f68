"""The load generator of `bench.serving`: clients share a load without a rest, and every request has its answer."""

from __future__ import annotations

import pytest

from bench.serving import load
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
