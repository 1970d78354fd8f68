"""Batched generation with the template that serving uses.

Output contract: continuations in the order of the prompts, without special tokens, and whether each ended by itself.
This module does not load models and does not score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.models.template import chat_prompt, stop_ids

BATCH = 16  # prompts: a 7B model's cache of so many answers fits beside it on a card of 24 GB


def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
) -> tuple[list[str], list[bool]]:
    """Answers each prompt as one user turn, all in one batch. Temperature 0 is greedy; sampling uses torch's global
    seed.

    Returns the texts and, for each, True when the model ended it rather than `max_new_tokens`.
    """
    import torch

    encoded = [chat_prompt(tokenizer, [{"role": "user", "content": prompt}]) for prompt in prompts]
    width = max(len(ids) for ids in encoded)
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in encoded], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded], device=model.device)
    stops = stop_ids(tokenizer, model.generation_config)
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            pad_token_id=pad,
            eos_token_id=stops,
            **sampling,
        )[:, width:].tolist()
    texts, ended = [], []
    for row in out:
        end = next((position for position, token in enumerate(row) if token in stops), None)
        texts.append(tokenizer.decode(row if end is None else row[:end], skip_special_tokens=True))
        ended.append(end is not None)
    return texts, ended


def answers(
    model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int, batch_size: int = BATCH
) -> Iterator[dict[int, tuple[str, bool]]]:
    """Yields, batch by batch, the greedy answer to each prompt by its position, and whether the model ended it.

    Longest prompts first, so that a batch pads little and memory runs out at once or not.
    """
    order = sorted(range(len(prompts)), key=lambda index: (-len(tokenizer(prompts[index])["input_ids"]), index))
    for start in range(0, len(order), batch_size):
        positions = order[start : start + batch_size]
        batch = complete(model, tokenizer, [prompts[index] for index in positions], max_new_tokens)
        yield dict(zip(positions, zip(*batch, strict=True), strict=True))
