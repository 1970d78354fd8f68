"""Answers of a model in memory, by the batching and the template that serving uses.

Output contract: `answers` yields each prompt's answer as it ends: the text without special tokens, and whether the
model ended it. The tokens are those of the hf engine: the model's own generation configuration (penalties, minimal
lengths, forced tokens) counts for nothing. An adapter counts where it is on. The model is left as it was.
A model that continuous batching cannot take answers in lock-step, and `tell` gets that as one sentence.
This module does not load models and does not score.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.generation import Prompts, Sampling, continuous, lock_step
from pipeline.generation.batching import BatchError
from pipeline.models.memory import free_bytes
from pipeline.models.template import chat_prompt, stop_ids

log = logging.getLogger("solotune.generation")


def answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    tell: Callable[[str], None] = log.warning,
) -> Iterator[dict[int, tuple[str, bool]]]:
    """Yields the answer to each prompt as one user turn, by its position; greedy without `sampling`."""
    if not prompts:
        return
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    ids = [chat_prompt(tokenizer, [{"role": "user", "content": prompt}]) for prompt in prompts]
    stops = stop_ids(tokenizer, causal.generation_config)
    asked = Prompts(ids, stops, tokenizer.pad_token_id, max_new_tokens, sampling)
    for position, tokens in _tokens(causal, asked, tell):
        ended = tokens[-1] in stops
        yield {position: (tokenizer.decode(tokens[:-1] if ended else tokens, skip_special_tokens=True), ended)}


def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    tell: Callable[[str], None] = log.warning,
) -> tuple[list[str], list[bool]]:
    """Returns what `answers` yields in the order of the prompts: the texts, and whether the model ended each."""
    answered: dict[int, tuple[str, bool]] = {}
    for part in answers(model, tokenizer, prompts, max_new_tokens, sampling, tell):
        answered.update(part)
    ordered = [answered[position] for position in range(len(prompts))]
    return [text for text, _ in ordered], [ended for _, ended in ordered]


def _tokens(model: Any, prompts: Prompts, tell: Callable[[str], None]) -> Iterator[tuple[int, list[int]]]:
    done = set()
    try:
        for position, tokens in continuous.answers(model, prompts, free_bytes(model.device.type)):
            done.add(position)
            yield position, tokens
    except BatchError as error:
        tell(f"answers are generated in lock-step, which is slower: {error}")
        left = [position for position in range(len(prompts.ids)) if position not in done]
        yield from lock_step.answers(model, prompts, left)
