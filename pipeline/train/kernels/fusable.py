"""Which layers of a model `fused_lora` can take: those it computes exactly as transformers and peft do.

Output contract: a module's attention projections, gated MLP and norm are named here, or not at all. Where anything is
unknown (dropout, DoRA, a second adapter, adapters of different scales, another activation) nothing is named, and the
layer keeps its own forward pass. This module changes no model.
"""

from __future__ import annotations

from typing import Any

import torch

from pipeline.train.kernels.ops import Gate

_LIKE_LLAMA = "Llama Mistral Ministral3 Qwen2 Qwen3 SmolLM3 Granite GraniteMoeHybrid Phi3 Olmo3 Gemma4 Gemma4Unified"
NORMS = {f"{model}RMSNorm" for model in _LIKE_LLAMA.split()}
"""Norms that are x / sqrt(mean(x^2) + eps) * weight, or without a weight, and nothing else."""
OFFSET_NORMS = {"Gemma3RMSNorm", "Qwen3_5RMSNorm"}
"""Norms that are x / sqrt(mean(x^2) + eps) * (1 + weight), the sum in float32."""
ACTIVATIONS: dict[str, Gate] = {"SiLU": "silu", "SiLUActivation": "silu", "GELUTanh": "gelu_tanh"}
ROTARY = {"llama", "mistral", "qwen2", "qwen3", "gemma3_text", "smollm3", "granite"}
"""Models, by `model_type`, whose rotary embedding is Llama's to the letter: liger's kernel computes that one alone."""
SHARED = (("q_proj", "k_proj", "v_proj"), ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"))
"""Layers of one module with one input; a module may lack some of them."""
ALONE = ("o_proj", "qkv_proj", "out_proj", "gate_up_proj", "input_linear", "output_linear")
MLP = ("gate_proj", "up_proj", "down_proj")


def is_norm(module: Any) -> bool:
    """Tells whether a module is one of `NORMS`."""
    return type(module).__name__ in NORMS


def is_offset_norm(module: Any) -> bool:
    """Tells whether a module is one of `OFFSET_NORMS`."""
    return type(module).__name__ in OFFSET_NORMS


def steps(module: Any) -> list[list[Any]]:
    """Returns the layers that a module itself holds, outside a `gated_mlp`, as lists that are one step each; none where
    one of them is not known."""
    alone = ALONE if hasattr(module, "gate_proj") else (*ALONE, "down_proj")
    named = [[getattr(module, name, None) for name in names] for names in (*SHARED, *((name,) for name in alone))]
    there = [layers for held in named if (layers := [layer for layer in held if layer is not None])]
    return there if all(all(map(_plain, layers)) and _alike(layers) for layers in there) else []


def gated_mlp(module: Any) -> list[Any]:
    """Returns gate, up and down of a module that is down(act(gate(x)) * up(x)); none of any other."""
    layers = [getattr(module, name, None) for name in MLP]
    return layers if activation(module) and all(map(_plain, layers)) and _alike(layers[:2]) else []


def activation(module: Any) -> Gate | None:
    """Returns the name that `ops` has for a module's activation."""
    return ACTIVATIONS.get(type(getattr(module, "act_fn", None)).__name__)


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
