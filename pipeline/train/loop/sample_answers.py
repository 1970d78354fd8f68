"""Answers of the model while it trains: the same few validation questions at every evaluation.

Output contract: an event `samples` in the event log, after the evaluation's line, with the questions and the answers in
their order; greedy, by the template that serving uses. Training goes on as if nobody had asked: no random number is
drawn, no weight, mode or attention is left changed.
This module does not score.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from pipeline.models import generate
from pipeline.train.loop.event_log import EventLog

NEW_TOKENS = 96


class Sampler(TrainerCallback):  # type: ignore[misc]
    """Asks `prompts` at every evaluation. The trainer that it is added to calls it."""

    def __init__(self, tokenizer: Any, prompts: Sequence[str], event_log: EventLog) -> None:
        self.tokenizer, self.prompts, self.event_log = tokenizer, list(prompts), event_log
        self._told: set[str] = set()

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        """Answers the questions and writes them to the event log."""
        texts = answers(model, self.tokenizer, self.prompts, lambda note: self._tell(state.global_step, note))
        first = " ".join(texts[0].split())[:80]
        text = f"answers to {len(texts)} validation questions are in the event log; the first begins: {first}"
        self.event_log.event(state.global_step, "samples", text, questions=self.prompts, answers=texts)

    def _tell(self, step: int, note: str) -> None:
        if note not in self._told:
            self._told.add(note)
            self.event_log.event(step, "note", note)


def answers(model: Any, tokenizer: Any, prompts: Sequence[str], tell: Callable[[str], None]) -> list[str]:
    """Returns greedy answers of a model in training (adapter on, packed attention), of `NEW_TOKENS` tokens at most."""
    with _asked(model):
        return generate.complete(model, tokenizer, prompts, NEW_TOKENS, tell=tell)[0]


@contextlib.contextmanager
def _asked(model: Any) -> Iterator[None]:
    """Makes a model able to generate while it is open: packed attention knows no padding and keeps no keys."""
    causal = model.get_base_model()
    training, attention = model.training, causal.config._attn_implementation
    cuda = model.device.type == "cuda"
    model.eval()
    causal.set_attn_implementation("sdpa")
    try:
        with torch.autocast("cuda", torch.bfloat16) if cuda else contextlib.nullcontext():
            yield
    finally:
        causal.set_attn_implementation(attention)
        model.train(training)
