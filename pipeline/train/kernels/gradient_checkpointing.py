"""Recomputing activations: how many decoder layers keep none and run forward again in the backward pass.

Output contract: after `recompute_layers(model, count)` the first `count` decoder layers recompute, the others keep what
they made; gradients are the same to the last bit that the arithmetic repeats. The bottom layers are chosen because the
backward pass reaches them last: what the upper layers kept is free again by then.
This module does not decide how many (`cost_model` does) and saves nothing inside a layer.
"""

from __future__ import annotations

import functools
from typing import Any

from pipeline.errors import ConfigError


def layers_of(model: Any) -> list[Any]:
    """Returns the decoder layers that transformers can recompute, bottom first."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.get_decoder().modules() if isinstance(module, GradientCheckpointingLayer)]


def recompute_layers(model: Any, count: int | None) -> int:
    """Makes the first `count` layers recompute (None: all), the others not; returns how many there are.

    Raises `ConfigError` for more layers than the model has, and for one whose layers cannot.
    """
    from torch.utils.checkpoint import checkpoint

    layers = layers_of(model)
    if not layers and count != 0:
        raise ConfigError(
            f"train.recompute: the layers of a {model.config.model_type} cannot be recomputed: set it to 0"
        )
    if count is not None and count > len(layers):
        raise ConfigError(f"train.recompute: {count} layers, but this model has {len(layers)} that can be recomputed")
    for number, layer in enumerate(layers):
        layer._gradient_checkpointing_func = functools.partial(checkpoint, use_reentrant=False)
        layer.gradient_checkpointing = count is None or number < count
    return len(layers)
