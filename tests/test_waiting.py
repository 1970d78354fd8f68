"""A worker's place: the card's node and not the largest, a wait that says who is there, and its end."""

from __future__ import annotations

import io
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray.util.state
from rich.console import Console

from pipeline import waiting

WORKER, LARGE, GONE = (
    {"NodeID": "card", "Alive": True, "Resources": {"CPU": 16.0, "GPU": 1.0}},
    {"NodeID": "cores", "Alive": True, "Resources": {"CPU": 64.0}},
    {"NodeID": "gone", "Alive": False, "Resources": {"CPU": 4.0, "GPU": 8.0}},
)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([LARGE, WORKER, GONE], {"GPU": 1, "CPU": 16}),
        ([WORKER, {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}], {"GPU": 1, "CPU": 8}),
        ([LARGE, {"Alive": True, "Resources": {"GPU": 1.0}}], {"GPU": 1}),  # a head that lends no cores
        ([LARGE, GONE, {"Alive": True, "Resources": {"CPU": 2.0}}], {"CPU": 64}),
    ],
)
def test_a_worker_asks_for_the_cores_of_the_cards_node(
    monkeypatch: pytest.MonkeyPatch, nodes: list[Any], expected: dict[str, float]
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert waiting.worker() == expected


def one(kind: str, name: str, node: str = "card", **resources: float) -> SimpleNamespace:
    return SimpleNamespace(class_name=kind, name=name, node_id=node, job_id="02", required_resources=resources)


def test_who_holds_the_card_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = "SERVE_REPLICA::solotune#Gateway#x1"
    actors = [
        one("ServeReplica:solotune:Gateway", replica, GPU=1.0, CPU=1.0, memory=5.0),
        one("ServeController", "SERVE_CONTROLLER_ACTOR"),
        one("Elsewhere", "", node="cores", CPU=3.0),
    ]
    task = SimpleNamespace(name="task", node_id="card", job_id="03", required_resources={"CPU": 2.0})
    jobs = [SimpleNamespace(job_id="02", submission_id="raysubmit_a"), SimpleNamespace(job_id="03", submission_id=None)]
    monkeypatch.setattr(ray, "nodes", lambda: [LARGE, WORKER, GONE])
    monkeypatch.setattr(ray.util.state, "list_jobs", lambda **_: jobs)
    monkeypatch.setattr(ray.util.state, "list_actors", lambda **_: [*actors, one("RayTrainWorker", "", CPU=4.0)])
    monkeypatch.setattr(ray.util.state, "list_tasks", lambda **_: [task])
    assert waiting.sentence({"GPU": 1, "CPU": 16}) == (
        "waiting for 1 GPU and 16 CPU of one node: the service solotune (Gateway) has 1 GPU and 1 CPU; "
        f"RayTrainWorker of job raysubmit_a has 4 CPU; task of job 03 has 2 CPU. {waiting.ADVICE}"
    )


@ray.remote(num_cpus=1)
class Holder:
    def ready(self) -> None:
        pass


@pytest.mark.ray
def test_a_wait_is_told_and_ends_when_there_is_room(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    console = Console(file=said, width=80)
    waiting.wait_for({"CPU": 2}, console)
    assert said.getvalue() == ""
    monkeypatch.setattr(waiting, "SILENT", 0.0)
    holder = Holder.remote()
    ray.get(holder.ready.remote())
    free = threading.Event()
    waiter = threading.Thread(target=lambda: (waiting.wait_for({"CPU": 2}, console), free.set()))
    waiter.start()
    limit = time.monotonic() + 60
    while not said.getvalue():
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert said.getvalue().startswith("waiting for 2 CPU of one node: ")
    assert not free.is_set()
    waiting.wait_for({"CPU": 2}, console, lambda: "the machine goes away")  # does not wait for the room
    ray.kill(holder)
    waiter.join(60)
    assert free.is_set()
    assert said.getvalue().count("waiting for") == 1  # and rarely again
