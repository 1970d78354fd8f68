"""A list of prompts, answered in one running batch: whoever is done makes room for the next.

Output contract: each answer as it ends, its stop token included. Memory is bounded: as many answers run at once as have
room for their full length in a share of the bytes that are free.
"""

from __future__ import annotations

import contextlib
import logging
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import SolotuneError
from pipeline.generation import Prompts, batching
from pipeline.generation.limits import Limits, fitting

AT_ONCE = {"cuda": 256, "cpu": 128}  # answers: beyond, a step takes longer by as much as it yields more
SHARE = {"cuda": 0.5, "cpu": 0.25}  # of the free bytes, for the cache
STEP_TOKENS = {"cuda": 4096, "cpu": 1024}  # per forward pass
MOST_BATCHES = 4  # side by side: between two operations Python runs one at a time
PULSE = 1.0  # seconds between two checks of the batch


def answers(model: Any, prompts: Prompts, free_bytes: int) -> Iterator[tuple[int, list[int]]]:
    """Yields position and new tokens of each prompt as it ends. Raises `BatchError` where the model cannot.

    A model that is faster on one thread has a batch on each of the threads that this process has.
    """
    batching.check(model, seeded=prompts.sampling is not None)
    came: queue.SimpleQueue[list[batching.Tokens]] = queue.SimpleQueue()
    with _threads(model) as count, contextlib.ExitStack() as stack:
        count = min(count, len(prompts.ids))
        batches = []
        for _ in range(count):  # all before the first request: each sets the model's attention, none while it computes
            batches.append(_batch(model, prompts, free_bytes // count, came.put))
            stack.callback(batches[-1].stop)
        for number in range(len(prompts.ids)):
            batches[number % count].add(_request(prompts, number))
        yield from _collected(batches, came, len(prompts.ids))


def _request(prompts: Prompts, number: int) -> batching.Request:
    settings: dict[str, Any] = {}
    if (sampling := prompts.sampling) is not None:
        settings = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seeds[number]}
    return batching.Request(str(number), prompts.ids[number], prompts.max_new_tokens, prompts.stop_ids, False, settings)


def _batch(model: Any, prompts: Prompts, free_bytes: int, send: Callable[..., None]) -> batching.Batch:
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)  # what it says is said in a sentence
    try:
        room = limits(model, prompts, free_bytes)
        return batching.Batch(model, room, prompts.stop_ids, prompts.pad_id, send, prompts.sampling is None)
    except SolotuneError:
        raise
    except Exception as error:  # no prompt has come yet: its text is about the model
        cause = str(error).partition("\n")[0]
        raise batching.BatchError(f"{type(model).__name__} does not run in continuous batching: {cause}") from error


def limits(model: Any, prompts: Prompts, free_bytes: int) -> Limits:
    """Returns how many of the prompts, were they the longest, have room in the cache at once."""
    import torch

    device = model.device.type
    needs = [len(ids) + prompts.max_new_tokens for ids in prompts.ids]
    found = fitting(model, needs, AT_ONCE[device], SHARE[device] * free_bytes)
    graphs = not torch.is_autocast_enabled(device)  # its cache of cast weights does not outlive a capture
    return replace(found, step=STEP_TOKENS[device], graphs=graphs)


def _collected(
    batches: Sequence[batching.Batch], came: queue.SimpleQueue[list[batching.Tokens]], count: int
) -> Iterator[tuple[int, list[int]]]:
    while count:
        try:
            step = came.get(timeout=PULSE)
        except queue.Empty:
            if not all(batch.running for batch in batches):
                raise batching.BatchError("the generation thread has ended") from None
            continue
        for tokens in step:
            if tokens.failed:
                raise batching.BatchError("a step of continuous batching failed")
            count -= 1
            yield int(tokens.name), tokens.token_ids


@contextlib.contextmanager
def _threads(model: Any) -> Iterator[int]:
    """Computes on one thread while it is open if the model is narrow; yields how many may then compute side by side."""
    import torch

    before = torch.get_num_threads()
    if not batching.narrow(model):
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield min(before, MOST_BATCHES)
    finally:
        torch.set_num_threads(before)
