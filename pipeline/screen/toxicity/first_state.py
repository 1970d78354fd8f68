"""A transformer's last layer for the first token alone, the only one that a classifier reads.

Output contract: `first_state` returns what the whole layer computes for that token, up to rounding. One query attends
to all tokens, so that keys and values need not be computed: a query is taken into the space of the states, and a
head's states are averaged before they are projected. The cost per token falls from 12 * hidden^2 to 2 * heads * hidden.
This module knows no batch and no score.
"""

from __future__ import annotations

from typing import Any


def first_state(layer: Any, states: Any, mask: Any) -> Any:
    """Returns the layer's output for the first token, (windows, 1, hidden), of states (windows, width, hidden).

    `layer`: of BERT or RoBERTa, whose attention has its projections in `self`. `mask`: True at tokens, (windows,
    width).
    """
    import torch

    attention, first = layer.attention.self, states[:, :1]
    heads = (attention.num_attention_heads, attention.attention_head_size)
    query = attention.query(first[:, 0]).unflatten(-1, heads)
    keys, values = (linear.weight.unflatten(0, heads).to(query.dtype) for linear in (attention.key, attention.value))
    states = states.to(query.dtype)
    # a key's bias adds the same to all scores of a query: the softmax does not see it
    scores = torch.einsum("bhs,hsd->bhd", query, keys) @ states.transpose(1, 2) * attention.scaling
    shares = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1).to(query.dtype)
    context = torch.einsum("bhd,hsd->bhs", shares @ states, values).flatten(1) + attention.value.bias.to(query.dtype)
    return layer.feed_forward_chunk(layer.attention.output(context[:, None], first))
