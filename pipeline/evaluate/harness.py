"""Tasks of the LM Evaluation Harness, by name, where its package is installed.

Output contract: `scores` returns, for each task, the harness's own numbers of the model as it is handed over, its
adapter on or off. What a task needs from the hub the harness fetches: on a machine without network only tasks whose
data is cached can run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MISSING = "needs the LM Evaluation Harness: `pip install 'solotune[harness]'`"


def installed() -> bool:
    """Returns whether the package is there; imports nothing."""
    from importlib.util import find_spec

    return find_spec("lm_eval") is not None


def scores(model: Any, tokenizer: Any, tasks: Sequence[str], limit: int | None) -> dict[str, Any]:
    """Returns `{task: {metric: number}}`; raises `InputError` for a task that the harness does not know."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from pipeline.errors import InputError
    from pipeline.generation.lock_step import BATCH

    manager = TaskManager()
    unknown = sorted(set(tasks) - set(manager.all_tasks))
    if unknown:
        raise InputError(f"evaluate.lm_eval: the harness has no task {', '.join(unknown)}")
    wrapped = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH)
    results = simple_evaluate(model=wrapped, tasks=list(tasks), task_manager=manager, limit=limit, log_samples=False)
    return {
        task: {name: value for name, value in values.items() if isinstance(value, int | float)}
        for task, values in results["results"].items()
    }
