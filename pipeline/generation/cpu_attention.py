"""Attention of a batch of requests on a CPU: each request reads its own keys and no other's, where they lie.

transformers' continuous batching packs the requests' tokens into one row. Without a kernel for packed rows, on a CPU,
it copies every request's keys for every token, multiplies every query with all of them, masks the rest, and keeps a
mask for the largest batch: work and memory grow with the square of the number of requests. Here a request has one page
of the cache (`batching` makes pages long enough). The pages of the requests that read one token are one batch, of which
nothing is copied, masked up to the longest; a prompt reads its own page.
Output contract: the output equals that of `sdpa` with transformers' mask but for rounding, sliding windows included.
Models that transformers does not run with `sdpa` stay unchanged.
The cache and the arguments of a packed attention are private to transformers: see `batching.known_transformers`.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import AttentionInterface

NAME = "packed_sdpa"
FULL = "full_attention"
SPARSE = 0.5  # share of the pages in a row that are read: with less, each is read by itself


class Step:
    """Which rows of a step belong to which page; the layers of a kind share it.

    `ends` are the cumulative lengths of queries and keys, int32 [requests + 1] each, `pages` the page of each row.
    """

    def __init__(self, ends: tuple[torch.Tensor, torch.Tensor], pages: torch.Tensor) -> None:
        starts, lengths = ends[0][:-1].long(), ends[1].diff().long()
        counts = ends[0].diff()
        self.longest = int(lengths.max())
        owners = pages[starts]
        alone = counts == 1
        self.first, self.end = int(owners.min()), int(owners.max()) + 1
        if int(alone.sum()) < SPARSE * (self.end - self.first):
            alone = torch.zeros_like(alone)
        self.rows, self.slots = starts[alone], owners[alone] - self.first
        mask = torch.arange(self.longest) < lengths[alone, None]
        self.mask = torch.zeros(self.end - self.first, 1, 1, self.longest, dtype=torch.bool)
        self.mask[..., 0] = True  # pages of nobody: something must be read
        self.mask[self.slots, 0, 0] = mask
        rest = [part[~alone].tolist() for part in (starts, counts, lengths, owners)]
        self.rest: list[tuple[int, int, int, int]] = list(zip(*rest, strict=True))


class Packed(threading.local):
    """An attention function for transformers' `AttentionInterface`.

    It holds what the layers of one step share. Each manager steps in a thread of its own.
    """

    def __init__(self) -> None:
        self._of: Any = None  # transformers makes a new list of write indices for every step
        self._steps: dict[str, Step] = {}

    def __call__(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        **step: Any,
    ) -> tuple[torch.Tensor, None]:
        """Returns [1, tokens, heads, head size], and no weights.

        `query` is [1, heads, tokens, head size]; `key` and `value` have the key-value heads and the new tokens only.
        """
        if any(step.get(name) is not None for name in ("position_bias", "softcap", "s_aux")):
            raise ValueError("packed_sdpa knows no position bias, no softcap and no sinks")
        cache = step["cache"]
        allocator = cache.layer_to_allocator[module.layer_idx]
        ends = step["cu_seq_lens_q"], step["cu_seq_lens_k"][allocator.layer_type]
        shared = self._shared(step["write_index"], allocator, ends)
        window = None if allocator.layer_type == FULL else allocator.sliding_window
        if shared.longest > allocator.tokens_per_page or (window is not None and shared.longest >= window):
            key, value = cache.update(key, value, module.layer_idx, step)  # the pages of a window are a ring
            return one_by_one(query, key, value, *ends, window, scaling), None
        nothing = [index[:0] for index in step["read_index"]]
        cache.update(key, value, module.layer_idx, {**step, "read_index": nothing})  # writes them
        stride = allocator.block_physical_stride // allocator.tokens_per_page
        keys, values = (pages[::stride] for pages in allocator._kv_page_views[module.layer_idx])
        return by_page(query, keys, values, shared, scaling), None

    def _shared(self, write_index: Any, allocator: Any, ends: tuple[torch.Tensor, torch.Tensor]) -> Step:
        if self._of is not write_index:
            self._of = write_index
            self._steps.clear()
        kind = allocator.layer_type
        if kind not in self._steps:
            self._steps[kind] = Step(ends, write_index[allocator.index] // allocator.block_physical_stride)
        return self._steps[kind]


def by_page(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, step: Step, scaling: float | None
) -> torch.Tensor:
    """Returns [1, tokens, heads, head size] for requests that have a page each.

    `query` is [1, heads, tokens, head size], `keys` and `values` are [pages, page size, key-value heads, head size].
    """
    rows = query[0].transpose(0, 1)
    output = query.new_empty(*rows.shape[:2], values.size(3))
    if len(step.rows):
        pages = slice(step.first, step.end)
        read = keys[pages, : step.longest], values[pages, : step.longest]
        output[step.rows] = together(rows[step.rows], *read, step.slots, step.mask, scaling)
    for start, count, length, page in step.rest:
        new = slice(start, start + count)
        k, v = (each[page, :length].transpose(0, 1)[None] for each in (keys, values))
        output[new] = causal(query[:, :, new], k, v, None, scaling)[0].transpose(0, 1)
    return output[None]


def together(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    slots: torch.Tensor,
    mask: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """Returns [requests, heads, head size] for one query each, [requests, heads, head size].

    `keys` and `values` are [pages, longest, key-value heads, head size], `mask` is [pages, 1, 1, longest] bool; `slots`
    has the page of each request.
    """
    heads = keys.size(2)
    q = query.new_zeros(keys.size(0), *query.shape[1:])
    q[slots] = query
    # A key head's queries stand where a sequence's tokens would: no key is repeated.
    q = q.unflatten(1, (heads, query.size(1) // heads))
    k, v = keys.transpose(1, 2), values.transpose(1, 2)
    output = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    return output.flatten(1, 2)[slots]


def one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_ends: torch.Tensor,
    key_ends: torch.Tensor,
    window: int | None,
    scaling: float | None,
) -> torch.Tensor:
    """Returns [1, tokens, heads, head size] for any number of queries each, the last of their sequence.

    Attention is causal, within `window` tokens. Both `ends` are [sequences + 1], cumulative lengths.
    """
    outputs = []
    queries, keys = query_ends.tolist(), key_ends.tolist()
    for index in range(len(queries) - 1):
        q = query[:, :, queries[index] : queries[index + 1]]
        k, v = (each[:, :, keys[index] : keys[index + 1]] for each in (key, value))
        outputs.append(causal(q, k, v, window, scaling))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


def causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None, scaling: float | None
) -> torch.Tensor:
    """Returns [1, heads, queries, head size] for the last queries of one sequence, within `window` tokens."""
    before, mask = key.size(2) - query.size(2), None
    if (before and query.size(2) > 1) or window is not None:
        last = torch.arange(before, key.size(2))[:, None]
        mask = torch.arange(key.size(2)) <= last
        if window is not None:
            mask &= torch.arange(key.size(2)) > last - window
    whole = mask is None and not before
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=whole, scale=scaling, enable_gqa=True
    )


def install(model: Any) -> None:
    """Replaces `sdpa` in a model that is ready for continuous batching and has not begun."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, _packed)
        model.set_attn_implementation(NAME)


_packed = Packed()
