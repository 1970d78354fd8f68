"""One Ray task per call, answers in the order of the calls. This module knows nothing of duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def each(task: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Returns what a Ray task of one core answers to each call, in order. Ray must be up."""
    import ray

    remote = ray.remote(num_cpus=1)(task)
    return list(ray.get([remote.remote(*call) for call in calls]))


def shared(value: Any) -> Any:
    """Returns a reference that tasks receive as the value: what many calls have in common travels once."""
    import ray

    return ray.put(value)
