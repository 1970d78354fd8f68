"""What llama.cpp calls each architecture, and how its numbers and tensors differ from transformers'.

Output contract: `find` returns the entry of a configuration; `Architecture.tensors` gives a tensor's names and content
as llama.cpp wants them (of a tensor without content the shapes), `keys` writes what only this architecture has. What
llama.cpp computes otherwise than transformers is a `ConfigError`, from `check`, which needs the configuration alone.
This module reads no weights and knows no vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError
from pipeline.export import gguf_gemma4, gguf_qwen35

if TYPE_CHECKING:
    import torch

_BLOCK = 32  # numbers that share a scale
Tensors = dict[str, "torch.Tensor"]
"""Tensors under transformers' names, or under llama.cpp's where they begin with `blk.`."""


@dataclass(frozen=True)
class Architecture:
    """One of llama.cpp's; `name` is its own."""

    name: str
    interleaved: bool = False  # rotary pairs are neighbours, not halves of a head
    ropes: tuple[str, ...] = ("default", "linear", "yarn")
    partial: bool = False  # rotates a part of each head
    windows: bool = False  # runs layers with a sliding window as such
    activation: str = "silu"
    keys: Callable[[Any, Any], None] = lambda writer, config: None
    wrong: Callable[[Any], str | None] = lambda config: None  # what in a configuration llama.cpp computes otherwise
    per_layer: Callable[[Any], dict[str, Any]] = lambda config: {}  # numbers that differ between layers
    change: Callable[[str, torch.Tensor, Any], Tensors] = lambda name, tensor, config: {name: tensor}

    def tensors(self, name: str, tensor: torch.Tensor, config: Any) -> Tensors:
        """Returns what becomes of a tensor of the text model; nothing of layers that guess further tokens."""
        if name.startswith("mtp."):
            return {}
        for part, heads in (("self_attn.q_proj.", "num_attention_heads"), ("self_attn.k_proj.", "num_key_value_heads")):
            if self.interleaved and part in name:
                tensor = _neighbours(tensor, getattr(config, heads))
        return self.change(name, tensor, config)


def find(config: Any) -> Architecture:
    """Returns the entry for the configuration of a text part; raises `ConfigError` for one that is not known."""
    kind = config.model_type
    if kind not in ARCHITECTURES:
        known = sorted(name.removesuffix("_text") for name in ARCHITECTURES)
        raise ConfigError(f"export.gguf: the model's type is {kind}; {', '.join(known)} can be converted")
    return ARCHITECTURES[kind]


def rope(config: Any) -> dict[str, Any]:
    """Returns the rotary parameters, of layers without a window where both kinds have their own."""
    parameters = config.rope_parameters
    return dict(parameters.get("full_attention", parameters))


def head_width(config: Any) -> int:
    """Returns how many numbers a head has, of layers without a window where both kinds have their own."""
    if config.model_type.startswith("gemma4"):
        return gguf_gemma4.everywhere(config, "head_dim")
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def rotated(config: Any) -> int:
    """Returns how many numbers of a head are rotated, those included that are rotated by nothing."""
    if rope(config)["rope_type"] == "proportional":
        return head_width(config)
    return int(head_width(config) * rope(config).get("partial_rotary_factor", 1.0))


def check(config: Any, kinds: Sequence[str]) -> None:
    """Raises `ConfigError` for a configuration that cannot become GGUF files of the given kinds."""
    architecture, settings = find(config), rope(config)
    activation = getattr(config, "hidden_act", None) or getattr(config, "hidden_activation", None)
    faults = [
        (settings["rope_type"] not in architecture.ropes, f"rotary scaling '{settings['rope_type']}'"),
        (settings["rope_type"] == "yarn" and not _plain_yarn(settings), "its kind of rotary scaling 'yarn'"),
        (rotated(config) != head_width(config) and not architecture.partial, "a rotation of a part of each head"),
        (activation != architecture.activation, f"the activation '{activation}'"),
        (architecture.windows and len(set(config.layer_types)) == 1, "or without a sliding window in every layer"),
        ((what := architecture.wrong(config)) is not None, what),
    ]
    for fault, what in faults:
        if fault:
            raise ConfigError(f"export.gguf: llama.cpp has no {architecture.name} with {what}")
    widths = {config.hidden_size, config.intermediate_size, head_width(config) * config.num_attention_heads}
    for kind, rows in (("q8_0", widths), ("q4_k_m", {config.hidden_size})):
        odd = sorted(width for width in rows if width % _BLOCK)
        if kind in kinds and odd:
            raise ConfigError(f"export.gguf: {kind} needs rows of a multiple of {_BLOCK}, and the model's are {odd[0]}")


def _plain_yarn(settings: dict[str, Any]) -> bool:
    """Tells whether llama.cpp's constants are the configuration's."""
    usual = 0.1 * math.log(settings["factor"]) + 1
    return (
        (settings.get("beta_fast") or 32, settings.get("beta_slow") or 1) == (32, 1)
        and settings.get("truncate", True)
        and settings.get("mscale") == settings.get("mscale_all_dim")
        and math.isclose(settings.get("attention_factor") or usual, usual, rel_tol=1e-4)
    )


def _neighbours(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Undoes Hugging Face's order of rotary pairs: halves become neighbours, which llama.cpp rotates for Llama."""
    rows = tensor.shape[0] // heads // 2
    return tensor.reshape(heads, 2, rows, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


# -- what each has of its own ------------------------------------------------------------------------------------------


def _ministral_keys(writer: Any, config: Any) -> None:
    settings = rope(config)
    writer.add_rope_scaling_yarn_log_mul(settings["mscale_all_dim"])
    writer.add_attn_temperature_scale(settings["llama_4_scaling_beta"])


def _ministral_wrong(config: Any) -> str | None:
    settings = rope(config)
    complete = settings.get("mscale_all_dim") == 1 and settings.get("llama_4_scaling_beta")
    return None if complete else "another attention scale than Ministral 3's"


def _smollm3_wrong(config: Any) -> str | None:
    every_fourth = [int((number + 1) % 4 != 0) for number in range(config.num_hidden_layers)]
    return None if config.no_rope_layers == every_fourth else "another order of layers without positions"


def _granite_keys(writer: Any, config: Any) -> None:
    writer.add_attention_scale(config.attention_multiplier)
    writer.add_embedding_scale(config.embedding_multiplier)
    writer.add_residual_scale(config.residual_multiplier)
    writer.add_logit_scale(config.logits_scaling)


def _granite4_wrong(config: Any) -> str | None:
    attends = set(config.layer_types) <= {"attention", "full_attention"} and config.position_embedding_type == "rope"
    return None if attends and not config.num_local_experts else "state-space layers, experts or no positions"


def _granite4(name: str, tensor: torch.Tensor, config: Any) -> Tensors:
    if "shared_mlp." not in name:
        return {name: tensor}
    block = f"blk.{name.split('.')[2]}."
    if "output_linear" in name:
        return {f"{block}ffn_down.weight": tensor}
    gate, up = tensor.chunk(2)
    return {f"{block}ffn_gate.weight": gate, f"{block}ffn_up.weight": up}


def _phi3_keys(writer: Any, config: Any) -> None:
    """llama.cpp takes the long factors once its context is longer than the original one: the file's ends there."""
    writer.add_sliding_window(0)
    settings = rope(config)
    if settings["rope_type"] == "longrope":
        stretched = config.max_position_embeddings / config.original_max_position_embeddings
        usual = math.sqrt(1 + math.log(stretched) / math.log(config.original_max_position_embeddings))
        writer.add_rope_scaling_attn_factors(settings.get("attention_factor") or usual if stretched > 1 else 1.0)
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)


def _window_keys(writer: Any, config: Any) -> None:
    writer.add_sliding_window(config.sliding_window)
    writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config.layer_types])


def _gemma3_keys(writer: Any, config: Any) -> None:
    _window_keys(writer, config)
    writer.add_rope_freq_base_swa(config.rope_parameters["sliding_attention"]["rope_theta"])


def _gemma4_keys(writer: Any, config: Any) -> None:
    _gemma3_keys(writer, config)
    gguf_gemma4.keys(writer, config)


def _gemma3_wrong(config: Any) -> str | None:
    every_sixth = [
        "full_attention" if (n + 1) % 6 == 0 else "sliding_attention" for n in range(len(config.layer_types))
    ]
    largest = config.num_hidden_layers == 62  # whose scale is of the width per head, not of a head
    scaled = config.hidden_size // config.num_attention_heads if largest else head_width(config)
    faults = {
        "another order of layers with a sliding window": config.layer_types != every_sixth,
        "another attention scale than its heads'": config.query_pre_attn_scalar != scaled,
        "a cap on its logits": config.final_logit_softcapping or config.attn_logit_softcapping,
    }
    return next((what for what, fault in faults.items() if fault), None)


def _gemma3(name: str, tensor: torch.Tensor, config: Any) -> Tensors:
    return {name: tensor + 1 if name.endswith("norm.weight") else tensor}


_LLAMA = Architecture("llama", interleaved=True, ropes=("default", "linear", "llama3", "yarn"))
_GEMMA4 = Architecture(
    "gemma4",
    ropes=("proportional",),
    windows=True,
    activation="gelu_pytorch_tanh",
    keys=_gemma4_keys,
    wrong=gguf_gemma4.wrong,
    per_layer=gguf_gemma4.per_layer,
    change=gguf_gemma4.change,
)
ARCHITECTURES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "ministral3": Architecture(
        "mistral3", interleaved=True, ropes=("yarn",), keys=_ministral_keys, wrong=_ministral_wrong
    ),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    "qwen3_5_text": Architecture(
        "qwen35",
        ropes=("default",),
        partial=True,
        keys=gguf_qwen35.keys,
        wrong=gguf_qwen35.wrong,
        change=gguf_qwen35.change,
    ),
    "smollm3": Architecture("smollm3", interleaved=True, wrong=_smollm3_wrong),
    "granite": Architecture("granite", interleaved=True, keys=_granite_keys),
    "granitemoehybrid": Architecture(
        "granite", interleaved=True, keys=_granite_keys, wrong=_granite4_wrong, change=_granite4
    ),
    "phi3": Architecture("phi3", ropes=("default", "longrope"), partial=True, keys=_phi3_keys),
    "olmo2": Architecture("olmo2"),
    "olmo3": Architecture("olmo2", windows=True, keys=_window_keys),
    "gemma3_text": Architecture(
        "gemma3",
        ropes=("default", "linear"),
        windows=True,
        activation="gelu_pytorch_tanh",
        keys=_gemma3_keys,
        wrong=_gemma3_wrong,
        change=_gemma3,
    ),
    "gemma4_text": _GEMMA4,
    "gemma4_unified_text": _GEMMA4,
}
"""By `model_type` in the configuration of the text part, as in `pipeline.models.architectures`."""
