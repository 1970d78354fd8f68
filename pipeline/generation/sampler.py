"""Seeded sampling for each request in a batch; log-probabilities and penalties on a CPU.

transformers' continuous batching draws from one generator for all requests, and cannot mix greedy requests with others.
`Draw` follows the Gumbel-max rule: the token with the largest logit plus -log(-log(u)), where u is a hash of (seed,
position, token). That is sampling from the softmax, reproducible in any batch; without the noise it is greedy. It has
no state and consists of tensor operations: a CUDA graph can capture it. It comes after temperature and top-p.
`Score` comes first. It keeps the model's own log-probabilities of requests with `logprobs`, and subtracts penalties. It
holds Python state of the running batch, so it is installed only where transformers runs one batch after the other and
captures no graph: on a CPU.
This module does not choose seeds. Its parts of transformers are private: see `batching.known_transformers`.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingTopPLogitsWarper,
)

from pipeline.generation import Logprob

GREEDY = 0


def mix(seed: int, position: int) -> int:
    """Returns a positive 31-bit number for one token of one request; never `GREEDY`."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1 | 1


def uniform(seeds: torch.Tensor, count: int) -> torch.Tensor:
    """Returns [len(seeds), count] float64 in (0, 1): splitmix64's finaliser over (seed, column)."""
    columns = torch.arange(1, count + 1, device=seeds.device, dtype=torch.int64)
    z = seeds.to(torch.int64).unsqueeze(1) * 0x632BE59BD9B4E019 + columns * -0x61C8864680B583EB  # wraps around
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    z = z ^ ((z >> 31) & 0x1FFFFFFFF)
    return (((z >> 12) & 0xFFFFFFFFFFFFF).to(torch.float64) + 0.5) * 2.0**-52


def drawn(scores: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    """Returns [requests, vocabulary] float64 scores whose largest is the drawn token's, by numbers of `mix`."""
    noise = -torch.log(-torch.log(uniform(seeds, scores.size(1))))
    return scores.double() + torch.where((seeds == GREEDY).unsqueeze(1), 0.0, noise)


class Score(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """First of all processors; see the module. `logprobs` holds those of each request's tokens so far."""

    supported_kwargs: dict[str, type] = {  # noqa: RUF012 -- as the base class has it
        "logprobs": int,
        "frequency_penalty": float,
        "presence_penalty": float,
    }
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.logprobs: dict[str, list[Logprob]] = {}
        self._states: list[Any] = []
        self._scores: dict[int, torch.Tensor] = {}  # of the batch in work, by row

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """See transformers' `LogitsProcessor` of continuous batching: no state for padding."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        """Keeps the requests of the next step's rows; returns int32 zeros [requests]."""
        self._states = [request.state for request in requests_with_new_token]
        return torch.zeros(len(self._states), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        self._scores.clear()
        for row, state in enumerate(self._states):
            settings = state.logit_processor_kwargs
            if "logprobs" in settings:
                self._scores[row] = scores[row].log_softmax(dim=-1)
            if "frequency_penalty" in settings and state.generated_tokens:
                ids = torch.tensor(state.generated_tokens, device=scores.device)
                counts = torch.bincount(ids, minlength=scores.size(1))
                penalty = settings["frequency_penalty"] * counts + settings["presence_penalty"] * (counts > 0)
                scores[row] -= penalty.to(scores.dtype)
        return scores

    def record(self, drawing: torch.Tensor) -> None:
        """Keeps the log-probabilities of the drawn tokens: the largest of each row of `drawing`."""
        for row, scores in self._scores.items():
            state = self._states[row]
            count = state.logit_processor_kwargs["logprobs"]
            values, ids = scores.topk(count) if count else (scores[:0], scores[:0])
            top = tuple(zip(ids.long().tolist(), values.tolist(), strict=True))
            drawn = Logprob(float(scores[drawing[row].argmax()]), top)
            self.logprobs.setdefault(state.request_id, []).append(drawn)


class Nucleus(ContinuousBatchingTopPLogitsWarper):  # type: ignore[misc]
    """transformers' own top-p, skipped while no request has one below 1: it sorts the vocabulary of every row."""

    def __init__(self, stock: ContinuousBatchingTopPLogitsWarper) -> None:
        self.__dict__.update(stock.__dict__)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        if bool((tensor_arg[: scores.size(0)].view(dtype=torch.float32) >= 1).all()):
            return scores
        return super().__call__(scores, tensor_arg)


class Draw(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """Makes the drawn token's score the largest: drawn by the request's `seed`, or without one the most probable."""

    supported_kwargs: dict[str, type] = {"seed": int}  # noqa: RUF012 -- as the base class has it
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self, score: Score | None = None) -> None:
        self._score = score

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Makes padding rows greedy."""
        int32_tensor.fill_(GREEDY)

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        """Returns int32 [requests]: `GREEDY`, or the hash of the request's seed and its length so far."""
        numbers = []
        for request in requests_with_new_token:
            state = request.state
            seed = state.logit_processor_kwargs.get("seed")
            length = len(state.initial_tokens) + len(state.generated_tokens)  # the same after an eviction
            numbers.append(GREEDY if seed is None else mix(seed, length))
        return torch.tensor(numbers, dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        seeds = tensor_arg[: scores.size(0)]
        if scores.device.type != "cpu" or not bool((seeds == GREEDY).all()):  # a captured graph cannot ask
            scores = drawn(scores, seeds)
        if self._score is not None:
            self._score.record(scores)
        return scores


def install(batching: Any, scoring: bool) -> Score | None:
    """Appends a `Draw` to the processors of a manager that has not started, with `scoring` a `Score` before all others.

    Returns the `Score`.
    """
    processors = batching.logit_processor
    score = Score() if scoring else None
    processors.logits_processor.append(Draw(score))
    if score is not None:  # a CPU: the work may depend on the requests
        processors.logits_processor[:] = [
            Nucleus(each) if type(each) is ContinuousBatchingTopPLogitsWarper else each
            for each in processors.logits_processor
        ]
        processors.logits_processor.insert(0, score)
        processors.supported_keys.update(score.supported_kwargs)
    processors.tensors_required += 2 if scoring else 1
    processors.supported_keys["seed"] = int
    processors.do_processing = True
    batching.generation_config.do_sample = False  # the largest score is taken, nothing is drawn a second time
    return score
