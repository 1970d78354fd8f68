"""Attention of a batch of requests on a GPU: torch's kernel for packed rows, instead of a mask over all of them.

Without flash-attn installed, transformers' continuous batching multiplies every query with every request's keys, under
a mask that it builds request by request at every step. `torch.nn.attention.varlen` takes the bounds of the requests
instead; nothing in it depends on their number, so a CUDA graph can capture the step.
Output contract: the output equals that of `sdpa` with transformers' mask but for rounding, sliding windows included.
Models that the kernel cannot take stay unchanged: of another type than 16 bits, with wide or odd heads, with a softcap.
The arguments of a packed attention are private to transformers: see `batching.known_transformers`.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch

NAME = "packed_varlen"


def attention(
    module: torch.nn.Module,
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
        raise ValueError("packed_varlen knows no position bias, no softcap and no sinks")
    window = step.get("sliding_window") or getattr(module, "sliding_window", None) or None
    old = "max_seqlen_q" in step  # transformers 5.17
    bounds, longest = step["cu_seq_lens_k"], step["max_seqlen_k" if old else "max_length_k"]
    if isinstance(bounds, dict):
        kind = "full_attention" if window is None else "sliding_attention"
        bounds, longest = bounds[kind], longest[kind]
    if old:
        keys, values = step["cache"].update(key, value, module.layer_idx, step["read_index"], step["write_index"])
    else:
        keys, values = step["cache"].update(key, value, module.layer_idx, dict(step))
        keys, values = (each[0].transpose(0, 1) for each in (keys, values))
    output = varlen(
        query[0].transpose(0, 1),
        keys,
        values,
        (step["cu_seq_lens_q"], bounds),
        (step["max_seqlen_q" if old else "max_length_q"], longest),
        window,
        scaling,
    )
    return output.unsqueeze(0), None


def varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    window: int | None,
    scaling: float | None,
) -> torch.Tensor:
    """Returns [tokens, heads, head size]: each request's queries, the last of its keys, over those before them.

    `query` is [tokens, heads, head size], `key` and `value` [tokens, key-value heads, head size]; `bounds` are the
    cumulative lengths of queries and keys, int32 [requests + 1], `longest` their largest lengths.
    """
    from torch.nn.attention.varlen import varlen_attn

    options: dict[str, Any] = {"scale": scaling}
    if "window_size" in _parameters():
        options["window_size"] = (-1 if window is None else window - 1, 0)
    else:
        options["is_causal"] = True
    if "enable_gqa" in _parameters():  # before it was there, the kernel took fewer heads of keys without being asked
        options["enable_gqa"] = key.size(1) != query.size(1)
    rows = (each.contiguous() for each in (query, key, value))
    output: torch.Tensor = varlen_attn(*rows, *(each.int() for each in bounds), *longest, **options)
    return output


def install(model: Any) -> None:
    """Replaces `sdpa` in a model that is ready for continuous batching and has not begun, where the kernel takes it."""
    from transformers import AttentionInterface

    if model.config._attn_implementation in ("sdpa", "paged|sdpa") and takes(model):  # and not flash-attn's own
        AttentionInterface.register(NAME, attention)
        model.set_attn_implementation(NAME)


def takes(model: Any) -> bool:
    """Returns whether the kernel takes the model."""
    config = model.config.get_text_config()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    half = model.dtype in (torch.bfloat16, torch.float16)
    windows = "window_size" in _parameters() or getattr(config, "sliding_window", None) is None
    return half and head <= 256 and head % 8 == 0 and not capped and windows and bool(_parameters())


@lru_cache(maxsize=1)
def _parameters() -> frozenset[str]:
    """Returns the arguments of this torch's kernel, none where it has no such kernel."""
    if find_spec("torch.nn.attention.varlen") is None:
        return frozenset()
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)
