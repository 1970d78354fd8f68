"""Drawing a token by a seed of its own, for each request in a batch; log-probabilities and penalties on a CPU.

transformers' continuous batching draws from one generator for all requests, and cannot mix greedy ones with others.
This logits processor draws by the Gumbel-max rule: the token with the largest logit plus -log(-log(u)), where u is a
hash of (seed, position, token). That is sampling from the softmax, reproducible whatever else is in the batch; without
the noise it is greedy. Only tensor operations, no state: it can be captured in a CUDA graph.
It must come after temperature and top-p. It does not choose seeds.
`Score` stands before all others. It keeps the log-probabilities of the model itself for the requests that asked, and
takes their penalties off. It holds Python state of the batch in work, so it is installed only where transformers runs
one batch after the other and captures no graph: on a CPU.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingTopPLogitsWarper,
)

from serve_app.engines import Logprob

if TYPE_CHECKING:
    import torch

GREEDY = 0


def mix(seed: int, position: int) -> int:
    """Returns a positive 31-bit number for one token of one request; never `GREEDY`."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1 | 1


def uniform(seeds: torch.Tensor, count: int) -> torch.Tensor:
    """Returns [len(seeds), count] float64 in (0, 1): splitmix64's finaliser over (seed, column)."""
    import torch

    columns = torch.arange(1, count + 1, device=seeds.device, dtype=torch.int64)
    z = seeds.to(torch.int64).unsqueeze(1) * 0x632BE59BD9B4E019 + columns * -0x61C8864680B583EB  # wraps around
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    z = z ^ ((z >> 31) & 0x1FFFFFFFF)
    return (((z >> 12) & 0xFFFFFFFFFFFFF).to(torch.float64) + 0.5) * 2.0**-52


class Score(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """First of all processors; see the module. `taken` holds each request's tokens' log-probabilities so far."""

    supported_kwargs: dict[str, type] = {  # noqa: RUF012 -- as the base class has it
        "logprobs": int,
        "frequency_penalty": float,
        "presence_penalty": float,
    }
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.taken: dict[str, list[Logprob]] = {}
        self._states: list[Any] = []
        self._scores: dict[int, torch.Tensor] = {}  # of the batch in work, by row

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """See transformers' `LogitsProcessor` of continuous batching: no state for padding."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        """Remembers whose rows the next step has; returns int32 zeros (requests,)."""
        import torch

        self._states = [request.state for request in requests_with_new_token]
        return torch.zeros(len(self._states), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        import torch

        self._scores.clear()
        for row, state in enumerate(self._states):
            wanted = state.logit_processor_kwargs
            if "logprobs" in wanted:
                self._scores[row] = scores[row].log_softmax(dim=-1)
            if "frequency_penalty" in wanted and state.generated_tokens:
                ids = torch.tensor(state.generated_tokens, device=scores.device)
                counts = torch.bincount(ids, minlength=scores.size(1))
                penalty = wanted["frequency_penalty"] * counts + wanted["presence_penalty"] * (counts > 0)
                scores[row] -= penalty.to(scores.dtype)
        return scores

    def record(self, drawing: torch.Tensor) -> None:
        """Keeps the log-probabilities of the tokens that are drawn: the largest of each row of `drawing`."""
        for row, scores in self._scores.items():
            state = self._states[row]
            count = state.logit_processor_kwargs["logprobs"]
            values, ids = scores.topk(count) if count else (scores[:0], scores[:0])
            top = tuple(zip(ids.long().tolist(), values.tolist(), strict=True))
            made = Logprob(float(scores[drawing[row].argmax()]), top)
            self.taken.setdefault(state.request_id, []).append(made)


class Nucleus(ContinuousBatchingTopPLogitsWarper):  # type: ignore[misc]
    """transformers' own top-p, which sorts the vocabulary of every row, only where some request has one below 1."""

    def __init__(self, stock: ContinuousBatchingTopPLogitsWarper) -> None:
        self.__dict__.update(stock.__dict__)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        import torch

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
        """Has padding rows be greedy."""
        int32_tensor.fill_(GREEDY)

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        """Returns one int32 per request: `GREEDY`, or what its seed and the length it has by now give."""
        import torch

        numbers = []
        for request in requests_with_new_token:
            state = request.state
            seed = state.logit_processor_kwargs.get("seed")
            length = len(state.initial_tokens) + len(state.generated_tokens)  # the same after an eviction
            numbers.append(GREEDY if seed is None else mix(seed, length))
        return torch.tensor(numbers, dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        import torch

        seeds = tensor_arg[: scores.size(0)]
        if scores.device.type != "cpu" or not bool((seeds == GREEDY).all()):  # a captured graph cannot ask
            noise = -torch.log(-torch.log(uniform(seeds, scores.size(1))))
            scores = scores.double() + torch.where((seeds == GREEDY).unsqueeze(1), 0.0, noise)
        if self._score is not None:
            self._score.record(scores)
        return scores


def install(batching: Any, scoring: bool) -> Score | None:
    """Puts a `Draw` at the end of a continuous batching manager's processors, and a `Score` first where it is wanted.

    Before the manager starts. Returns the `Score`.
    """
    processors = batching.logit_processor
    score = Score() if scoring else None
    processors.logits_processor.append(Draw(score))
    if score is not None:  # a CPU: what is done may depend on what is asked for
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
