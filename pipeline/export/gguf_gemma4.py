"""Gemma 4 as llama.cpp wants it: layers that see everything have heads of their own width.

Output contract: what an entry of `gguf_architectures` needs; `everywhere` and `windowed` read numbers of one kind of
layer.
This module reads no files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

_NAMES = {"head_dim": "global_head_dim", "num_key_value_heads": "num_global_key_value_heads"}  # transformers 5.17
_NEVER = 1e30  # what a frequency is divided by that rotates nothing


def everywhere(config: Any, name: str) -> int:
    """Returns `head_dim` or `num_key_value_heads` of the layers without a sliding window."""
    numbers = config.to_dict()
    layers = (numbers.get("per_layer_config") or {}).values()
    return int(
        next((layer[name] for layer in layers if name in layer), None) or numbers.get(_NAMES[name]) or numbers[name]
    )


def windowed(config: Any, name: str) -> int:
    """Returns the same of the layers with a sliding window."""
    return int(config.to_dict()[name])


def wrong(config: Any) -> str | None:
    """Returns what llama.cpp computes otherwise, None without."""
    if getattr(config, "enable_moe_block", False):
        return "experts"
    return "attention to what follows" if config.use_bidirectional_attention == "all" else None


def per_layer(config: Any) -> dict[str, list[int]]:
    """Returns the numbers that differ between layers."""
    wide = 2 if getattr(config, "use_double_wide_mlp", False) else 1
    shared = config.num_hidden_layers - getattr(config, "num_kv_shared_layers", 0)
    heads = {"sliding_attention": windowed, "full_attention": everywhere}
    return {
        "head_count_kv": [heads[kind](config, "num_key_value_heads") for kind in config.layer_types],
        "feed_forward_length": [
            config.intermediate_size * (wide if layer >= shared else 1) for layer in range(config.num_hidden_layers)
        ],
    }


def keys(writer: Any, config: Any) -> None:
    """Writes what only this architecture has, but for what Gemma 3 has too."""
    writer.add_shared_kv_layers(getattr(config, "num_kv_shared_layers", 0))
    writer.add_embedding_length_per_layer_input(getattr(config, "hidden_size_per_layer_input", 0) or 0)
    for name in ("key_length_swa", "value_length_swa", "rope_dimension_count_swa"):
        getattr(writer, f"add_{name}")(windowed(config, "head_dim"))
    writer.add_final_logit_softcapping(config.final_logit_softcapping or 0.0)  # without it llama.cpp's is 30


def factors(config: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Returns what rotary frequencies are divided by in layers without a window: a part of each head is rotated."""
    import numpy as np

    half = everywhere(config, "head_dim") // 2
    rotated = int(half * config.rope_parameters["full_attention"]["partial_rotary_factor"])
    return {"rope_freqs.weight": np.asarray([1.0] * rotated + [_NEVER] * (half - rotated), np.float32)}


def change(name: str, tensor: torch.Tensor, config: Any) -> dict[str, torch.Tensor]:
    """See `gguf_architectures.Architecture.tensors`."""
    return {f"{name}.weight" if name.endswith("layer_scalar") else name: tensor}
