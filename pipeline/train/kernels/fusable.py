"""Which layers of a model `fused_lora` can take: those it computes exactly as transformers and peft do.

Output contract: a module's attention projections, gated MLP and norm are named here, or not at all. Where anything is
unknown (dropout, DoRA, a second adapter, adapters of different scales, another activation) nothing is named, and the
layer keeps its own forward pass. This module changes no model.
"""

from __future__ import annotations

from typing import Any

import torch

NORMS = {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"}
"""Norms that are x / sqrt(mean(x^2) + eps) * weight and nothing else."""
ACTIVATIONS = {"SiLU", "SiLUActivation"}
PROJECTIONS = ("q_proj", "k_proj", "v_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


def is_norm(module: Any) -> bool:
    """Tells whether a module is one of `NORMS`."""
    return type(module).__name__ in NORMS


def projections(module: Any) -> list[list[Any]]:
    """Returns the projections of an attention module that are one step each: q, k and v, and o; none of any other."""
    wide = [getattr(module, name, None) for name in PROJECTIONS]
    if not all(map(_plain, wide)) or not _alike(wide):
        return []
    return [wide, *([[module.o_proj]] if _plain(getattr(module, "o_proj", None)) else [])]


def gated_mlp(module: Any) -> list[Any]:
    """Returns gate, up and down of a module that is down(silu(gate(x)) * up(x)); none of any other."""
    layers = [getattr(module, name, None) for name in MLP]
    supported = type(getattr(module, "act_fn", None)).__name__ in ACTIVATIONS
    return layers if supported and all(map(_plain, layers)) and _alike(layers[:2]) else []


def _plain(layer: Any) -> bool:
    """Tells whether a layer is linear and bears one LoRA adapter of the plain kind at most."""
    if not hasattr(layer, "lora_A"):
        return isinstance(layer, torch.nn.Linear)
    if not isinstance(layer.get_base_layer(), torch.nn.Linear) or len(layer.active_adapters) != 1:
        return False
    (name,) = layer.active_adapters
    return (
        name in layer.lora_A
        and name not in layer.lora_variant
        and not layer.lora_bias[name]
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
    )


def _alike(layers: list[Any]) -> bool:
    """Tells whether the adapters of layers that share an input have one scale."""
    return len({layer.scaling[layer.active_adapters[0]] for layer in layers if hasattr(layer, "lora_A")}) <= 1
