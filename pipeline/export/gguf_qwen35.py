"""Qwen3.5 as llama.cpp wants it: three quarters of its layers are gated delta-net layers.

Output contract: what an entry of `gguf_architectures` needs. llama.cpp repeats key heads over value heads in
turns where transformers keeps those of a key head together, and stores the decay as it is used.
This module reads no files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NARROWEST = 32  # head of a delta-net that llama.cpp's kernel takes
_SECTIONS = [11, 11, 10, 0]  # of the rotation; they matter to images alone


def interval(config: Any) -> int:
    """Returns which layer attends: every fourth."""
    return int(config.layer_types.index("full_attention")) + 1 if "full_attention" in config.layer_types else 0


def wrong(config: Any) -> str | None:
    """Returns what llama.cpp computes otherwise, None without."""
    every = interval(config)
    layers = range(1, config.num_hidden_layers + 1)
    if not every or config.layer_types != ["linear_attention" if at % every else "full_attention" for at in layers]:
        return "another order of layers that attend"
    if config.linear_key_head_dim != config.linear_value_head_dim:
        return "keys and values of unlike widths"
    return "heads of fewer than 32 numbers" if config.linear_value_head_dim < NARROWEST else None


def keys(writer: Any, config: Any) -> None:
    """Writes what only this architecture has."""
    writer.add_ssm_conv_kernel(config.linear_conv_kernel_dim)
    writer.add_ssm_state_size(config.linear_key_head_dim)
    writer.add_ssm_group_count(config.linear_num_key_heads)
    writer.add_ssm_time_step_rank(config.linear_num_value_heads)
    writer.add_ssm_inner_size(config.linear_value_head_dim * config.linear_num_value_heads)
    writer.add_full_attention_interval(interval(config))
    writer.add_rope_dimension_sections(_SECTIONS)


def change(name: str, tensor: torch.Tensor, config: Any) -> dict[str, torch.Tensor]:
    """See `gguf_architectures.Architecture.tensors`."""
    kind = name.split("linear_attn.")[-1]
    width = config.linear_value_head_dim
    first = 2 * config.linear_num_key_heads * config.linear_key_head_dim  # of the rows that are values
    match kind:
        case "A_log":
            tensor = -_in_turns(tensor, 1, config).exp()
        case "dt_bias":
            name, tensor = name.replace("dt_bias", "dt_proj.bias"), _in_turns(tensor, 1, config)
        case "in_proj_a.weight" | "in_proj_b.weight":
            tensor = _in_turns(tensor, 1, config)
        case "in_proj_z.weight":
            tensor = _in_turns(tensor, width, config)
        case "in_proj_qkv.weight" | "conv1d.weight":
            tensor = _behind(tensor.squeeze(1) if kind.startswith("conv1d") else tensor, first, width, config)
        case "out_proj.weight":
            tensor = _in_turns(tensor.T, width, config).T
        case _ if name.endswith("norm.weight") and kind != "norm.weight":
            tensor = tensor + 1
    return {name: tensor}


def _behind(tensor: torch.Tensor, first: int, width: int, config: Any) -> torch.Tensor:
    import torch

    return torch.cat([tensor[:first], _in_turns(tensor[first:], width, config)])


def _in_turns(tensor: torch.Tensor, width: int, config: Any) -> torch.Tensor:
    """Orders rows, `width` per value head, so that neighbouring value heads belong to neighbouring key heads."""
    heads = config.linear_num_key_heads
    grouped = tensor.reshape(heads, config.linear_num_value_heads // heads, width, *tensor.shape[1:])
    return grouped.swapaxes(0, 1).reshape(tensor.shape)
