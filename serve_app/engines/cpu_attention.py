"""Attention of a batch of requests on a CPU: each request reads its own keys and no other's.

transformers' continuous batching packs the requests' tokens into one row. Where no kernel for packed rows exists, on a
CPU, it multiplies every query with every request's keys and masks the rest, and keeps a mask for the largest batch:
work and memory grow with the square of the number of requests. Here the requests that read one token are one batch,
padded to the longest; where one reads a prompt, they are taken one after the other.
Output contract: what `sdpa` with transformers' mask gives, but for rounding; sliding windows included. Models that
transformers does not run with `sdpa` stay as they are.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "packed_sdpa"
FULL = "full_attention"


class Packed(threading.local):
    """An attention function for transformers' `AttentionInterface`.

    It holds what the layers of one step share: rows and mask of the padded batch. Each manager steps in a thread of its
    own.
    """

    def __init__(self) -> None:
        self._step: Any = None  # transformers makes a new list of read indices for every step
        self._padded: torch.Tensor
        self._mask: torch.Tensor

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
        if step.get("position_bias") is not None or step.get("softcap") is not None:
            raise ValueError("packed_sdpa knows no position bias and no softcap")
        cache = step["cache"]
        allocator = cache.layer_to_allocator[module.layer_idx]
        one_each = step["max_length_q"] == 1 and allocator.layer_type == FULL
        if one_each and step["read_index"][allocator.index].numel():
            if self._step is not step["read_index"]:
                self._step = step["read_index"]
                rows, self._mask = padded(step["cu_seq_lens_k"][FULL].long())
                self._padded = step["read_index"][allocator.index][rows.view(-1)]
            reads = [self._padded if at == allocator.index else None for at in range(len(step["read_index"]))]
            key, value = cache.update(key, value, module.layer_idx, {**step, "read_index": reads})
            return together(query, key, value, self._mask, scaling), None
        key, value = cache.update(key, value, module.layer_idx, step)
        window = None if allocator.layer_type == FULL else allocator.sliding_window
        return one_by_one(query, key, value, step["cu_seq_lens_q"], step["cu_seq_lens_k"], window, scaling), None


def padded(ends: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns for sequences packed one after the other their rows [sequences, longest], and which of them are real.

    `ends` is [sequences + 1] int64, cumulative lengths. What is not real repeats the sequence's last row.
    """
    import torch

    lengths = ends[1:] - ends[:-1]
    columns = torch.arange(int(lengths.max()))
    rows = ends[:-1, None] + torch.minimum(columns, lengths[:, None] - 1)
    return rows, columns < lengths[:, None]


def together(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """One query each: `key` and `value` are [1, key-value heads, sequences x longest, head size]."""
    from torch.nn.functional import scaled_dot_product_attention

    sequences, longest = mask.shape
    heads, groups = query.size(1), query.size(1) // key.size(1)
    # A key head's queries stand where a sequence's tokens would: no key is repeated.
    asked = query[0].view(-1, groups, sequences, query.size(3)).permute(2, 0, 1, 3)
    read, weighed = (each[0].unflatten(1, (sequences, longest)).transpose(0, 1) for each in (key, value))
    made = scaled_dot_product_attention(asked, read, weighed, attn_mask=mask[:, None, None], scale=scaling)
    return made.reshape(1, sequences, heads, value.size(3))


def one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_ends: torch.Tensor,
    key_ends: torch.Tensor,
    window: int | None,
    scaling: float | None,
) -> torch.Tensor:
    """Any number of queries each: the last ones of their sequence, causal, within `window` tokens."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    made = []
    queries, keys = query_ends.tolist(), key_ends.tolist()
    for at in range(len(queries) - 1):
        asked = query[:, :, queries[at] : queries[at + 1]]
        read, weighed = (each[:, :, keys[at] : keys[at + 1]] for each in (key, value))
        before = read.size(2) - asked.size(2)
        mask = None
        if before or window is not None:
            last = torch.arange(before, read.size(2))[:, None]
            mask = torch.arange(read.size(2)) <= last
            if window is not None:
                mask &= torch.arange(read.size(2)) > last - window
        made.append(
            scaled_dot_product_attention(
                asked, read, weighed, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=True
            )
        )
    return torch.cat(made, dim=2).transpose(1, 2).contiguous()


def install(model: Any) -> None:
    """Gives a model that is ready for continuous batching with `sdpa`, and has not begun, this attention instead."""
    from transformers.modeling_utils import AttentionInterface

    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, _packed)
        model.set_attn_implementation(NAME)


_packed = Packed()
