"""Gated delta nets (Qwen3.5) over packed rows: state and short convolution start anew with every example.

Output contract: where flash-linear-attention is `installed`, a model that is called with `cu_seq_lens_q` (for its delta
rule) and `seq_idx` (for its convolution) keeps packed examples apart after `keep_apart(model)`: transformers hands both
on, and where the package `causal_conv1d` is missing the convolution here takes its place. Without
flash-linear-attention transformers 5.17 ignores the bounds and 5.23 refuses them: such a model is not to be packed.
This module has no kernel of the delta rule.
"""

from __future__ import annotations

import functools
import sys
from importlib.util import find_spec
from typing import Any

import torch

FUNCTION = "causal_conv1d_fn"
"""The name of the convolution in transformers' files of such models."""


def installed() -> bool:
    """Tells whether the kernels of the delta rule are there."""
    return find_spec("fla") is not None


def used_by(causal: Any) -> bool:
    """Tells whether a model has such layers."""
    return "linear_attention" in (getattr(causal.config.get_text_config(), "layer_types", None) or ())


def keep_apart(causal: Any) -> None:
    """Gives the layers of a model a convolution that heeds bounds, unless the package that has one is there."""
    if find_spec("causal_conv1d") is not None:
        return
    for layer in causal.get_decoder().layers:
        if (net := getattr(layer, "linear_attn", None)) is not None:
            module = sys.modules[type(net).__module__]
            if not isinstance(getattr(module, FUNCTION), functools.partial):
                setattr(module, FUNCTION, functools.partial(convolve, getattr(module, FUNCTION)))


def convolve(
    plain: Any,
    states: torch.Tensor,
    weight: torch.Tensor,
    *rest: Any,
    cu_seq_lens_q: torch.Tensor | None = None,
    seq_idx: torch.Tensor | None = None,
    **more: Any,
) -> torch.Tensor:
    """Convolves (1, channels, tokens) with (channels, width), causally within each example of a packed row.

    `plain` is the convolution that heeds no bounds: examples are moved apart by `width - 1` zeros. Without bounds it is
    `plain` itself.
    """
    if seq_idx is None or cu_seq_lens_q is None:
        result: torch.Tensor = plain(states, weight, *rest, **more)
        return result
    gap, tokens = weight.shape[-1] - 1, states.shape[-1]
    places = torch.arange(tokens, device=states.device) + gap * seq_idx[0]
    length = tokens + gap * (len(cu_seq_lens_q) - 2)
    apart = states.new_zeros(*states.shape[:2], length).index_copy(2, places, states)
    convolved: torch.Tensor = plain(apart, weight, *rest, **more)
    return convolved.index_select(2, places)
