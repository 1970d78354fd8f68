"""Attention over packed rows: many sequences in one batch row, none of which sees another.

Output contract: `register()` makes the implementation `packed` known to transformers; a model loaded with it takes
`cu_seq_lens_q` (int32, sequences + 1, cumulative lengths) and `max_length_q` (int) as keyword arguments of its forward
pass. Attention is causal within a sequence and nowhere else; no mask is ever built (transformers builds none for an
implementation without a mask function). On CUDA the kernel is `torch.nn.attention.varlen`; on a CPU, and for heads too
wide for that kernel (Gemma 4's have 512), it is one SDPA call per sequence.
This module does not pack, pad or generate: a model that generates is loaded with `sdpa`.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "packed"
UNKNOWN = ("softcap", "s_aux", "sinks")
"""Arguments of transformers' models that change the weights of the attention: not computed here."""


def register() -> str:
    """Registers the implementation, as often as one likes; returns its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
    return NAME


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attends within each sequence of one packed row.

    `query` is (1, heads, tokens, size), `key` and `value` (1, key heads, tokens, size); returns (1, tokens, heads,
    size) and no weights. Raises `ValueError` for more than one batch row, a mask, dropout, missing lengths, attention
    that is not causal, and what is `UNKNOWN`.
    """
    if cu_seq_lens_q is None or max_length_q is None:
        raise ValueError("packed attention needs `cu_seq_lens_q` and `max_length_q` in the model call")
    if query.shape[0] != 1 or attention_mask is not None or dropout:
        raise ValueError("packed attention takes one batch row, no mask and no dropout")
    unknown = [name for name in UNKNOWN if others.get(name) is not None]
    if unknown or not getattr(module, "is_causal", True):
        raise ValueError(f"packed attention does not compute {unknown[0] if unknown else 'what is not causal'}")
    window = sliding_window if sliding_window is not None and sliding_window < max_length_q else None
    attend = _in_one_kernel if query.is_cuda and _fits(query) else _one_by_one
    return attend(query[0], key[0], value[0], scaling, window, cu_seq_lens_q, max_length_q).unsqueeze(0), None


def _fits(query: torch.Tensor) -> bool:
    size = int(query.shape[-1])
    return size <= widest(query.device) and size % 8 == 0


def widest(device: torch.device) -> int:
    """Returns the largest head that the kernel of `torch.nn.attention.varlen` takes, forwards and backwards."""
    small = device.type == "cuda" and torch.cuda.get_device_capability(device) in {(8, 6), (8, 9)}
    return 192 if small else 256


def _in_one_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
    lengths: torch.Tensor,
    longest: int,
) -> torch.Tensor:
    """Takes (heads, tokens, size), returns (tokens, heads, size)."""
    from torch.nn.attention.varlen import varlen_attn

    takes = _parameters()
    dtype = value.dtype if value.dtype in {torch.float16, torch.bfloat16} else torch.bfloat16
    options: dict[str, Any] = {"scale": scaling}
    if "enable_gqa" in takes:
        options["enable_gqa"] = key.shape[0] != query.shape[0]
    if "window_size" in takes:
        options["window_size"] = (-1 if window is None else window - 1, 0)
    elif window is None:
        options["is_causal"] = True  # the signature of torch 2.10
    else:
        raise ValueError(f"torch {torch.__version__} has no sliding window for packed rows: set max_length <= {window}")
    rows = [part.transpose(0, 1).to(dtype) for part in (query, key, value)]
    return varlen_attn(*rows, lengths, lengths, longest, longest, **options).to(query.dtype)


@lru_cache(maxsize=1)
def _parameters() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
    lengths: torch.Tensor,
    longest: int,
) -> torch.Tensor:
    """Takes (heads, tokens, size), returns (tokens, heads, size)."""
    if key.shape[0] != query.shape[0]:
        groups = query.shape[0] // key.shape[0]  # the fused kernels want as many key heads as query heads
        key, value = key.repeat_interleave(groups, 0), value.repeat_interleave(groups, 0)
    sizes = lengths.diff().tolist()
    device = query.device
    parts = [
        scaled_dot_product_attention(
            q, k, v, attn_mask=_band(size, window, device), is_causal=window is None, scale=scaling
        )
        for size, q, k, v in zip(
            sizes,
            query[None].split(sizes, dim=2),
            key[None].split(sizes, dim=2),
            value[None].split(sizes, dim=2),
            strict=True,
        )
    ]
    return torch.cat(parts, dim=2)[0].transpose(0, 1)


def _band(size: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Returns a (size, size) mask, True where a query sees a key: itself and the `window - 1` before it."""
    if window is None:
        return None
    ones = torch.ones(size, size, dtype=torch.bool, device=device)
    return ones.tril() & ones.triu(1 - window)
