"""Shapes against the models themselves: transformers' own code on the meta device, same configuration."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import Lora
from pipeline.errors import ConfigError
from pipeline.models import architectures
from pipeline.plan import cost_model
from pipeline.plan.presets import PRESETS
from pipeline.plan.shape import DEFAULTS, shape_in

SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7, "num_attention_heads": 4}
SIZES = {**SMALL, "num_key_value_heads": 2, "vocab_size": 300}
GRANITE = {"num_local_experts": 0, "layer_types": ["attention"] * 7, "shared_intermediate_size": 48}
GEMMA4 = {"global_head_dim": 32, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 200}
SHARED = {
    "num_kv_shared_layers": 3,
    "use_double_wide_mlp": True,
    "layer_types": ["sliding_attention", "full_attention"] * 3,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "llama with biases": {"model_type": "llama", **SIZES, "attention_bias": True, "mlp_bias": True},
    "llama with head_dim null": {"model_type": "llama", **SIZES, "head_dim": None},
    "llama without heads of keys": {"model_type": "llama", **SMALL, "vocab_size": 300},
    "mistral tied": {"model_type": "mistral", **SIZES, "head_dim": None, "tie_word_embeddings": True},
    "qwen2 with biases of its own": {"model_type": "qwen2", **SIZES},
    "qwen3 without head_dim": {"model_type": "qwen3", **SIZES, "attention_bias": True},
    "qwen3.5 whose layers are counted off": {"model_type": "qwen3_5_text", **SIZES, "full_attention_interval": 4},
    "gemma 3 without a word of ties": {"model_type": "gemma3_text", **SIZES, "attention_bias": True},
    "gemma 3 as the 4B is published": {"model_type": "gemma3_text", **{k: SMALL[k] for k in list(SMALL)[:3]}},
    "gemma 4 with shared keys": {"model_type": "gemma4_text", **SIZES, "num_hidden_layers": 6, **GEMMA4, **SHARED},
    "gemma 4 whose values are keys": {
        "model_type": "gemma4_text",
        **SIZES,
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 1,
        "hidden_size_per_layer_input": 0,
    },
    "smollm3": {"model_type": "smollm3", **SIZES, "pad_token_id": 0, "attention_bias": True, "mlp_bias": True},
    "granite 3": {"model_type": "granite", **SIZES, "attention_bias": True, "mlp_bias": True},
    "granite 4": {"model_type": "granitemoehybrid", **SIZES, **GRANITE, "attention_bias": True},
    "phi 3": {"model_type": "phi3", **SIZES, "pad_token_id": 0},
    "olmo 3": {"model_type": "olmo3", **SIZES, "pad_token_id": 0, "attention_bias": True},
}
CONFIGS = {**VARIANTS, **{preset.name: preset.config for preset in PRESETS}}


def built(config: dict[str, Any]) -> Any:
    """The real model, without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    text = architectures.text_part(config)
    model_type = text.pop("model_type")
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **text))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shape_holds_what_the_model_holds(name: str) -> None:
    import torch

    shape, model = shape_in(CONFIGS[name], name), built(dict(CONFIGS[name]))
    assert shape.parameters == model.num_parameters()
    linear = [
        module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and ".layers." in name
    ]
    assert shape.linear == sum(module.weight.numel() for module in linear)
    assert cost_model.trainable(shape, Lora(r=16)) == 16 * sum(sum(module.weight.shape) for module in linear)
    assert shape.tied == (model.get_output_embeddings().weight is model.get_input_embeddings().weight)


@pytest.mark.parametrize("model_type", DEFAULTS)
def test_what_a_file_leaves_out_is_what_transformers_takes(model_type: str) -> None:
    from transformers import AutoConfig

    config, expected = AutoConfig.for_model(model_type), dict(DEFAULTS[model_type])
    if "global_head_dim" in expected:  # these configurations answer for a layer, not for all
        widths = {expected.pop("head_dim"), expected.pop("global_head_dim")}
        assert {layer.head_dim for layer in config.per_layer_config} == widths
    assert {key: getattr(config, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": None}, "no number for hidden_size, but null"),
        ({"intermediate_size": None}, "no number for intermediate_size, but null"),
        ({"num_hidden_layers": 0}, "no number for num_hidden_layers, but 0"),
        ({"vocab_size": "300"}, "no number for vocab_size, but '300'"),
        ({"num_attention_heads": -4}, "no number for num_attention_heads, but -4"),
        ({"model_type": "qwen3_5", "layer_types": ["full_attention"]}, "lists 1 layer_types for 7 layers"),
    ],
)
def test_a_number_that_is_missing_is_a_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        shape_in({"model_type": "llama", **SIZES, **change}, "org/base")


def test_what_a_wrapper_says_of_ties_counts_where_its_text_part_is_silent() -> None:
    for model_type in ("mistral3", "qwen3_5"):
        tied = shape_in({"model_type": model_type, "tie_word_embeddings": True, "text_config": SIZES})
        own = shape_in({"model_type": model_type, "text_config": SIZES})
        assert own.parameters - tied.parameters == 64 * 300
