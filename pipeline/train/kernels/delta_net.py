"""Gated delta nets (Qwen3.5) over packed rows: state and short convolution start anew with every example.

Output contract: where flash-linear-attention is `installed`, a model that is called with `cu_seq_lens_q` (for its delta
rule) and `seq_idx` (for its convolution) keeps packed examples apart after `keep_apart(model)`: transformers hands both
on, and where the package `causal_conv1d` is missing the convolution here takes its place. Without
flash-linear-attention transformers 5.17 ignores the bounds and 5.23 refuses them: such a model is not to be packed.
This module has no kernel of the delta rule.
"""

from __future__ import annotations

import functools
import importlib
import sys
from importlib.util import find_spec
from typing import Any

import torch

from pipeline.errors import ConfigError, one_line

FUNCTION = "causal_conv1d_fn"
"""The name of the convolution in transformers' files of such models."""


def installed() -> bool:
    """Tells whether the kernels of the delta rule are there. What cannot be imported is not: transformers then takes
    its own code, and 5.17 without a word."""
    if find_spec("fla") is None:
        return False
    try:
        importlib.import_module("fla")
    except Exception:  # of a package that is not ours, or of one that it needs
        return False
    return True


def check(causal: Any) -> None:
    """Raises `ConfigError` where a model whose rows are packed lets an example see the one before it, or cannot be
    trained: by eight tokens, of which the first four change."""
    device = causal.device
    row = {"position_ids": torch.arange(4, device=device).repeat(2)[None], "max_length_q": 4}
    row |= {"cu_seq_lens_q": torch.tensor([0, 4, 8], dtype=torch.int32, device=device)}
    row |= {"seq_idx": torch.tensor([[0] * 4 + [1] * 4], dtype=torch.int32, device=device), "use_cache": False}
    embed, last = causal.get_input_embeddings(), torch.arange(9, 13, device=device)
    try:
        states = []
        for first in (1, 5):
            ids = torch.cat([torch.arange(first, first + 4, device=device), last])[None]
            given = embed(ids).detach().requires_grad_()
            states.append(causal.get_decoder()(inputs_embeds=given, **row).last_hidden_state[0, 4:])
            states[-1].float().square().sum().backward()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"base_model: its delta nets cannot be trained on this card: {one_line(error)}") from error
    if not torch.equal(*states):
        raise ConfigError(
            "base_model: its delta nets do not keep packed examples apart here: install flash-linear-attention and "
            "transformers anew, or remove flash-linear-attention, for padded batches"
        )


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
