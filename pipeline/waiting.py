"""Waits until a node of the cluster has the resources of one worker free, and reports who uses them.

Output contract: after `SILENT` seconds, and every `REPEAT` from then on, a wait prints one line: the resources, who
uses them (actors and tasks, a service by its name, other work by its job) and what ends them. The users come from Ray's
state API; a Ray without a dashboard has none, and the line then names `ray status`.
This module reserves nothing: another job may take the resources first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

SILENT = 5.0  # seconds
REPEAT = 600.0  # seconds
STEP = 1.0  # seconds until Ctrl-C and `stop` are noticed
REPLICA = "SERVE_REPLICA::"  # what Ray Serve's replicas are named: SERVE_REPLICA::application#deployment#id
ADVICE = (
    "A service ends with `python -m jobs.serve CONFIG --run DIR --stop`, a job with `ray job stop ID`; this job goes "
    "on by itself as soon as there is room"
)


def worker() -> dict[str, float]:
    """Returns the resources that a worker needs of one node: a GPU and all cores of the smallest node with a GPU, else
    all cores of the largest node."""
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
    next_report = time.monotonic() + SILENT
    try:
        while not group.wait(STEP) and not stop():
            if time.monotonic() >= next_report:
                console.print(sentence(bundle), soft_wrap=True, markup=False)
                next_report = time.monotonic() + REPEAT
    finally:
        remove_placement_group(group)


def sentence(bundle: Mapping[str, float]) -> str:
    """Returns the line that a wait for `bundle` prints."""
    users = holders(bundle)
    who = "it is not known who holds them, `ray status` shows how much is free" if users is None else "; ".join(users)
    return f"waiting for {_amounts(bundle)} of one node: {who or 'nobody is seen to hold them'}. {ADVICE}"


def holders(bundle: Mapping[str, float]) -> list[str] | None:
    """Returns who uses how much of the bundle's resources on the nodes that are large enough for it; None where Ray
    does not say."""
    import ray
    from ray.util import state
    from ray.util.state.exception import RayStateApiException

    nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"] and _fits(bundle, node["Resources"])}
    options: dict[str, Any] = {"detail": True, "timeout": 5, "raise_on_missing_output": False}
    try:
        jobs = {job.job_id: job.submission_id for job in state.list_jobs(**options)}
        actors = state.list_actors(filters=[("state", "=", "ALIVE")], **options)
        tasks = state.list_tasks(filters=[("state", "=", "RUNNING"), ("type", "=", "NORMAL_TASK")], **options)
    except (RayStateApiException, OSError, RuntimeError, ValueError):
        return None
    users = []
    for user in (*actors, *tasks):
        amounts = {name: user.required_resources[name] for name in bundle if (user.required_resources or {}).get(name)}
        if amounts and user.node_id in nodes:
            users.append(f"{_title(user, jobs)} has {_amounts(amounts)}")
    return users


def _title(user: Any, jobs: Mapping[str, str | None]) -> str:
    """Returns what an actor or a task is called: a service by its name, other work by its job."""
    if (user.name or "").startswith(REPLICA):
        application, deployment = user.name.removeprefix(REPLICA).split("#")[:2]
        return f"the service {application} ({deployment})"
    return f"{getattr(user, 'class_name', None) or user.name} of job {jobs.get(user.job_id) or user.job_id}"


def _fits(bundle: Mapping[str, float], total: Mapping[str, float]) -> bool:
    return all(total.get(name, 0) >= amount for name, amount in bundle.items())


def _amounts(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
