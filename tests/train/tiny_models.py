"""Tiny random models of the architectures on the list, with every kind of layer that theirs have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.small_model import make_tokenizer

VOCABULARY = 96
WINDOW = 6
"""Tokens that a sliding layer sees: fewer than the tests' sequences have."""
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_MIXED = ["sliding_attention", "full_attention"]
_GEMMA = {"head_dim": 16, "sliding_window": WINDOW, "layer_types": _MIXED}
_EDGE = {  # Gemma 4's smallest: inputs to each layer, the last layers take keys and values of earlier ones
    "num_hidden_layers": 4,
    "layer_types": 2 * _MIXED,
    "num_kv_shared_layers": 2,
    "use_double_wide_mlp": True,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
}
_MULTIPLIED = {
    "attention_multiplier": 0.3,
    "embedding_multiplier": 6.0,
    "residual_multiplier": 0.5,
    "logits_scaling": 4.0,
}
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
_SCALED = {**ROPE, "llama_4_scaling_beta": 0.5, "original_max_position_embeddings": 4}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", {"sliding_window": WINDOW}),
    "qwen2": ("qwen2", {}),
    "qwen2 with windows": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1, "layer_types": _MIXED[::-1]},
    ),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "gemma3": ("gemma3_text", {**_GEMMA, "query_pre_attn_scalar": 24}),
    "gemma3 with a cap": ("gemma3_text", {**_GEMMA, "final_logit_softcapping": 2.0}),
    "gemma4": (
        "gemma4_text",
        {**_GEMMA, **_EDGE, "global_head_dim": 32, "final_logit_softcapping": 2.0},
    ),
    "gemma4 without values": (
        "gemma4_text",
        {
            **_GEMMA,
            "global_head_dim": 32,
            "num_global_key_value_heads": 1,
            "attention_k_eq_v": True,
            "hidden_size_per_layer_input": 0,
            "final_logit_softcapping": 2.0,
        },
    ),
    "gemma4 unified": (
        "gemma4_unified_text",
        {**_GEMMA, "global_head_dim": 32, "num_global_key_value_heads": 1, "attention_k_eq_v": True},
    ),
    "ministral3": ("ministral3", {"head_dim": 16, "sliding_window": None, "rope_parameters": _SCALED}),
    "ministral3 with windows": ("ministral3", {"head_dim": 16, "sliding_window": WINDOW, "rope_parameters": _SCALED}),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0]}),
    "smollm3 with windows": (
        "smollm3",
        {
            "no_rope_layers": [0, 1],
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "layer_types": _MIXED[::-1],
        },
    ),
    "granite": ("granite", _MULTIPLIED),
    "granite4": (
        "granitemoehybrid",
        {
            **_MULTIPLIED,
            "num_local_experts": 0,
            "shared_intermediate_size": 96,
            "layer_types": 2 * ["full_attention"],
            "position_embedding_type": "rope",
            "mamba_n_heads": 16,
        },
    ),
    "phi3": ("phi3", {"sliding_window": WINDOW, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}}),
    "olmo3": ("olmo3", {"sliding_window": WINDOW, "layer_types": _MIXED}),
    "qwen3_5": (
        "qwen3_5_text",
        {
            "head_dim": 16,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
}


def make(name: str, attention: str = "sdpa", **settings: Any) -> Any:
    """Returns the causal model `name` of `MODELS`, random and in evaluation mode; the same numbers at every call."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, own = MODELS[name]
    if "vocab_size" in settings and "vocab_size_per_layer_input" in own:
        own = {**own, "vocab_size_per_layer_input": settings["vocab_size"]}
    config = AutoConfig.for_model(model_type, **{**_SIZES, "initializer_range": 0.2, **own, **settings})
    torch.manual_seed(0)
    causal = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32)
    for parameter in causal.parameters():  # what starts at one or at nothing would hide that it is left out
        parameter.data += 0.05 * torch.randn_like(parameter)
    return causal.eval()


def save(name: str, place: Path) -> Path:
    """Writes the model with the tests' tokenizer as a base, with more embeddings than tokens as real ones have; returns
    the folder."""
    tokenizer = make_tokenizer()
    make(name, vocab_size=len(tokenizer) + 8).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def sequences(*lengths: int) -> list[torch.Tensor]:
    """Returns random token ids, (length,) each."""
    draw = torch.Generator().manual_seed(3)
    return [torch.randint(3, VOCABULARY, (length,), generator=draw) for length in lengths]
