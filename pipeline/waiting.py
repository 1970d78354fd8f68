"""A place for one worker on the cluster: waits until a node has it free, and says what it waits for and who is there.

Output contract: after `SILENT` seconds, and every `REPEAT` from then on, a wait is one printed line: the resources, who
holds them (actors and tasks, a service by its name, other work by its job) and what ends them. Who holds them comes
from Ray's state API, which a Ray without a dashboard does not have: then the line names `ray status`.
This module reserves nothing: who asks for the same in the next instant may be faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

SILENT = 5.0
REPEAT = 600.0
STEP = 1.0  # seconds until Ctrl-C and `stop` are noticed
REPLICA = "SERVE_REPLICA::"  # what Ray Serve's replicas are named: SERVE_REPLICA::application#deployment#id
ADVICE = (
    "A service ends with `python -m jobs.serve CONFIG --run DIR --stop`, a job with `ray job stop ID`; this job goes "
    "on by itself as soon as there is room"
)


def worker() -> dict[str, float]:
    """Returns what a worker that needs the hardware asks of one node: a card and all cores of a node that has one, else
    all cores of the largest node. Nodes with cards may differ: it is what the smallest of them has."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(node.get("CPU", 0)) for node in nodes if node.get("GPU", 0) >= 1]
    if not cores:
        return {"CPU": max(int(node.get("CPU", 0)) for node in nodes)}
    return {"GPU": 1, "CPU": min(cores)} if min(cores) else {"GPU": 1}  # Ray refuses a zero


def wait_for(bundle: Mapping[str, float], console: Console, stop: Callable[[], Any] = lambda: None) -> None:
    """Returns when one node has the resources of `bundle` free, or as soon as `stop` returns something true."""
    from ray.util import placement_group, remove_placement_group

    group = placement_group([dict(bundle)])
    tell = time.monotonic() + SILENT
    try:
        while not group.wait(STEP) and not stop():
            if time.monotonic() >= tell:
                console.print(sentence(bundle), soft_wrap=True, markup=False)
                tell = time.monotonic() + REPEAT
    finally:
        remove_placement_group(group)


def sentence(bundle: Mapping[str, float]) -> str:
    """Returns what a person who waits for `bundle` is told."""
    found = holders(bundle)
    who = "it is not known who holds them, `ray status` shows how much is free" if found is None else "; ".join(found)
    return f"waiting for {_amounts(bundle)} of one node: {who or 'nobody is seen to hold them'}. {ADVICE}"


def holders(bundle: Mapping[str, float]) -> list[str] | None:
    """Returns who holds some of it on the nodes that could have the whole bundle; None where Ray does not say."""
    import ray
    from ray.util import state
    from ray.util.state.exception import RayStateApiException

    nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"] and _fits(bundle, node["Resources"])}
    asked: dict[str, Any] = {"detail": True, "timeout": 5, "raise_on_missing_output": False}
    try:
        jobs = {job.job_id: job.submission_id for job in state.list_jobs(**asked)}
        actors = state.list_actors(filters=[("state", "=", "ALIVE")], **asked)
        tasks = state.list_tasks(filters=[("state", "=", "RUNNING"), ("type", "=", "NORMAL_TASK")], **asked)
    except (RayStateApiException, OSError, RuntimeError, ValueError):
        return None
    found = []
    for one in (*actors, *tasks):
        held = {name: one.required_resources[name] for name in bundle if (one.required_resources or {}).get(name)}
        if held and one.node_id in nodes:
            found.append(f"{_called(one, jobs)} has {_amounts(held)}")
    return found


def _called(one: Any, jobs: Mapping[str, str | None]) -> str:
    name = getattr(one, "class_name", None) or one.name
    if (one.name or "").startswith(REPLICA):
        application, deployment = one.name.removeprefix(REPLICA).split("#")[:2]
        return f"the service {application} ({deployment})"
    return f"{name} of job {jobs.get(one.job_id) or one.job_id}"


def _fits(bundle: Mapping[str, float], total: Mapping[str, float]) -> bool:
    return all(total.get(name, 0) >= amount for name, amount in bundle.items())


def _amounts(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
