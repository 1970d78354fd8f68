"""How large the cache of a batch is, and how many requests run in it at once.

Output contract: a batch with the `Limits` of `fitting` or `whole` never has to put a request back for want of room.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PAGE = 256  # tokens per block of a GPU's cache: the default of every version, under names that differ
STEP_TOKENS = 1024  # tokens per forward pass: a longer prompt is read in several


@dataclass(frozen=True)
class Limits:
    """What a batch may hold: `requests` at once, in a cache of `blocks` of `page` tokens."""

    requests: int
    blocks: int
    page: int
    step: int = STEP_TOKENS  # tokens per forward pass
    graphs: bool = False  # CUDA graphs, each captured when its shape first comes, where the attention takes no mask


def fitting(model: Any, needs: Sequence[int], requests: int, room: float) -> Limits:
    """Returns how many of the requests run at once: at most `requests`, as many as have room in so many bytes, but one.

    `needs` are the tokens that each request has in the end. On a CPU a page holds a whole request.
    """
    ordered = sorted(needs, reverse=True)
    page = _page(model, ordered[0])
    blocks = [_blocks(tokens, page) for tokens in ordered[:requests]]
    block = page * token_bytes(model)
    sums = [total for total in itertools.accumulate(blocks) if total * block <= room] or blocks[:1]
    return Limits(len(sums), sums[-1] + _spare(model), page)


def whole(model: Any, tokens: int, requests: int) -> Limits:
    """Returns room for so many requests that have so many tokens in the end, whatever memory is free."""
    page = _page(model, tokens)
    return Limits(requests, requests * _blocks(tokens, page) + _spare(model), page)


def _page(model: Any, longest: int) -> int:
    return longest + 1 if model.device.type == "cpu" else PAGE


def _blocks(tokens: int, page: int) -> int:
    return math.ceil((tokens + 1) / page)


def _spare(model: Any) -> int:
    """Returns the blocks that two sectors hold: each kind of layer of a model takes whole sectors of the cache."""
    counts = kinds(model)
    return 0 if len(counts) == 1 else math.ceil(2 * math.lcm(*counts) / sum(counts))


def kinds(model: Any) -> list[int]:
    """Returns how many layers of each kind of attention the model has."""
    return list(Counter(getattr(model.config.get_text_config(), "layer_types", None) or ["full"]).values())


def token_bytes(model: Any) -> int:
    """Returns how many bytes a token takes in the model's cache."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    pairs = config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads)
    return int(2 * pairs * size * model.dtype.itemsize)
