"""Attention of a batch of requests on a CPU: each request reads its own keys and no other's.

transformers' continuous batching packs the requests' tokens into one row. Without a kernel for packed rows, on a CPU,
it multiplies every query with every request's keys, masks the rest, and keeps a mask for the largest batch: work and
memory grow with the square of the number of requests. Here the requests that read one token form one batch, padded to
the longest; a step with a prompt takes the requests one after the other.
Output contract: the output equals that of `sdpa` with transformers' mask but for rounding, sliding windows included.
Models that transformers does not run with `sdpa` stay unchanged.
The arguments of a packed attention are private to transformers: see `batching.known_transformers`.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import AttentionInterface

NAME = "packed_sdpa"
FULL = "full_attention"


class Packed(threading.local):
    """An attention function for transformers' `AttentionInterface`.

    It holds the rows and the mask of the padded batch, which the layers of one step share. Each manager steps in a
    thread of its own.
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
            reads = [self._padded if index == allocator.index else None for index in range(len(step["read_index"]))]
            key, value = cache.update(key, value, module.layer_idx, {**step, "read_index": reads})
            return together(query, key, value, self._mask, scaling), None
        key, value = cache.update(key, value, module.layer_idx, step)
        window = None if allocator.layer_type == FULL else allocator.sliding_window
        return one_by_one(query, key, value, step["cu_seq_lens_q"], step["cu_seq_lens_k"], window, scaling), None


def padded(ends: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the rows [sequences, longest] int64 of packed sequences, and the bool mask of real ones.

    `ends` is [sequences + 1] int64, cumulative lengths. Padding repeats the sequence's last row.
    """
    lengths = ends[1:] - ends[:-1]
    columns = torch.arange(int(lengths.max()))
    rows = ends[:-1, None] + torch.minimum(columns, lengths[:, None] - 1)
    return rows, columns < lengths[:, None]


def together(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Returns [1, sequences, heads, head size] for one query each.

    `key` and `value` are [1, key-value heads, sequences x longest, head size], `mask` is [sequences, longest] bool.
    """
    sequences, longest = mask.shape
    heads, groups = query.size(1), query.size(1) // key.size(1)
    # A key head's queries stand where a sequence's tokens would: no key is repeated.
    q = query[0].view(-1, groups, sequences, query.size(3)).permute(2, 0, 1, 3)
    k, v = (each[0].unflatten(1, (sequences, longest)).transpose(0, 1) for each in (key, value))
    output = scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None], scale=scaling)
    return output.reshape(1, sequences, heads, value.size(3))


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
        before = k.size(2) - q.size(2)
        mask = None
        if before or window is not None:
            last = torch.arange(before, k.size(2))[:, None]
            mask = torch.arange(k.size(2)) <= last
            if window is not None:
                mask &= torch.arange(k.size(2)) > last - window
        outputs.append(
            scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=True
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


def install(model: Any) -> None:
    """Replaces `sdpa` in a model that is ready for continuous batching and has not begun."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, _packed)
        model.set_attn_implementation(NAME)


_packed = Packed()
