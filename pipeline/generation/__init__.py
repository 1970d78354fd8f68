"""Generation on a model in memory, for the jobs and for the service's hf engine: token ids in, token ids out.

`batching` runs transformers' continuous batching, `sampler` draws by seed, `cpu_attention` and `cuda_attention` keep
the requests of a batch apart. `continuous` and `lock_step` answer a list of prompts, each in its own way;
`pipeline.models.generate` chooses between them and is the jobs' way in.
This module imports no model library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Logprob:
    """Natural logarithm of a token's probability, before temperature and penalties; `top` by falling probability."""

    value: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Sampling:
    """How to draw; each prompt has a seed, so that neither its place nor its company changes its answer."""

    temperature: float
    top_p: float
    seeds: Sequence[int]


@dataclass(frozen=True)
class Prompts:
    """Prompts to be answered, as token ids; greedily without `sampling`."""

    ids: Sequence[list[int]]
    stop_ids: list[int]
    pad_id: int
    max_new_tokens: int
    sampling: Sampling | None = None
