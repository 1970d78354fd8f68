"""A list of prompts, answered in batches that end with their longest answer: for models that know no other way.

Output contract: that of `continuous`, token for token but for rounding, for any model that has `generate`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.generation import Prompts, Sampling

BATCH = 16  # prompts: a 7B model's cache of so many answers fits beside it on a card of 24 GB


def answers(
    model: Any, prompts: Prompts, positions: Sequence[int] | None = None, batch: int = BATCH
) -> Iterator[tuple[int, list[int]]]:
    """Yields position and new tokens of the prompts, or of those at `positions`.

    Longest first, so that a batch pads little and memory runs out at once or not.
    """
    chosen = range(len(prompts.ids)) if positions is None else positions
    ordered = sorted(chosen, key=lambda position: (-len(prompts.ids[position]), position))
    for start in range(0, len(ordered), batch):
        part = ordered[start : start + batch]
        yield from zip(part, _together(model, prompts, part), strict=True)


def _together(model: Any, prompts: Prompts, part: Sequence[int]) -> list[list[int]]:
    """Returns the new tokens of the prompts at the positions in `part`."""
    import torch

    rows = [prompts.ids[position] for position in part]
    width = max(len(row) for row in rows)
    ids = torch.tensor([[prompts.pad_id] * (width - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
    with torch.inference_mode(), _own_configuration(model, prompts):
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=prompts.max_new_tokens,
            logits_processor=[] if prompts.sampling is None else _drawing(prompts.sampling, part, mask),
        )
    return [_ended(row, prompts.stop_ids) for row in out[:, width:].tolist()]


def _ended(row: list[int], stop_ids: list[int]) -> list[int]:
    """Returns the tokens up to the stop token, which belongs to them."""
    end = next((position for position, token in enumerate(row) if token in stop_ids), len(row))
    return row[: end + 1]


@contextlib.contextmanager
def _own_configuration(model: Any, prompts: Prompts) -> Iterator[None]:
    """Takes the model's generation configuration away while it is open: transformers fills a given one from it."""
    from transformers import GenerationConfig

    before = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False, pad_token_id=prompts.pad_id, eos_token_id=prompts.stop_ids
    )
    try:
        yield
    finally:
        model.generation_config = before


def _drawing(sampling: Sampling, part: Sequence[int], mask: Any) -> list[Any]:
    """Returns processors after which the largest score is the drawn token's, as `sampler.Draw` has it in a batch."""
    import torch
    from transformers.generation.logits_process import LogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

    from pipeline.generation import sampler

    seeds, pads = [sampling.seeds[position] for position in part], (mask == 0).sum(1).tolist()

    class Seeded(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            numbers = [sampler.mix(seed, input_ids.size(1) - pad) for seed, pad in zip(seeds, pads, strict=True)]
            return sampler.drawn(scores, torch.tensor(numbers, dtype=torch.int32, device=scores.device))

    processors = [TemperatureLogitsWarper(sampling.temperature), Seeded()]
    return processors if sampling.top_p >= 1 else [processors[0], TopPLogitsWarper(sampling.top_p), processors[1]]
