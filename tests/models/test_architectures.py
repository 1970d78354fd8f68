"""What is proven, and what is refused: by `config.json` as models publish it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.models import architectures

MIXTRAL = {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 8}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "Mixtral": (MIXTRAL, "mixture of experts"),
    "experts under another name": ({"model_type": "llama", "n_routed_experts": 64}, "mixture of experts"),
    "Gemma 4 26B-A4B": (
        {"model_type": "gemma4", "text_config": {"model_type": "gemma4_text", "enable_moe_block": True}},
        "mixture of experts",
    ),
    "Granite 4 tiny": ({"model_type": "granitemoehybrid", "num_local_experts": 64}, "mixture of experts"),
    "Granite 4 h-micro": (
        {"model_type": "granitemoehybrid", "num_local_experts": 0, "layer_types": ["mamba", "attention"]},
        "state",
    ),
    "Mamba": ({"model_type": "mamba"}, "state"),
    "Qwen3-Next": ({"model_type": "qwen3_next"}, "state"),
    "gpt-oss": (
        {"model_type": "gpt_oss", "num_local_experts": 32, "quantization_config": {"quant_method": "mxfp4"}},
        "sinks",
    ),
    "BLOOM": ({"model_type": "bloom"}, "ALiBi"),
    "MPT": ({"model_type": "mpt", "attn_config": {"alibi": True}}, "ALiBi"),
    "Falcon with ALiBi": ({"model_type": "falcon", "alibi": True}, "ALiBi"),
    "Falcon": ({"model_type": "falcon", "alibi": False}, "not proven here"),
    "GPT-2": ({"model_type": "gpt2"}, "absolute positions"),
    "DeepSeek-V2": ({"model_type": "deepseek_v2"}, "multi-latent"),
    "a latent one by another name": ({"model_type": "pangu", "kv_lora_rank": 512}, "multi-latent"),
    "Gemma 2": ({"model_type": "gemma2", "attn_logit_softcapping": 50.0}, "caps the logits"),
    "BERT": ({"model_type": "bert"}, "no causal language model"),
    "T5": ({"model_type": "t5", "is_encoder_decoder": True}, "no causal language model"),
    "a classifier": ({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}, "causal"),
    "Qwen2.5-VL": ({"model_type": "qwen2_5_vl", "vision_config": {"depth": 32}}, "take Qwen/Qwen3-8B instead"),
    "LLaVA": (
        {"model_type": "llava", "text_config": {"model_type": "llama"}, "vision_config": {"hidden_size": 1024}},
        "take a text-only model instead",
    ),
    "remote code": ({"model_type": "baichuan", "auto_map": {"AutoConfig": "c.C"}}, "only Python code"),
    "AWQ": ({"model_type": "llama", "quantization_config": {"quant_method": "awq"}}, r"quantised already \(awq\)"),
    "FP8 beside the text part": (
        {
            "model_type": "mistral3",
            "quantization_config": {"quant_method": "fp8"},
            "text_config": {"model_type": "ministral3"},
        },
        r"quantised already \(fp8\)",
    ),
    "another architecture": ({"model_type": "starcoder2"}, "not proven here"),
    "no architecture at all": ({"hidden_size": 64}, "no model_type"),
    "nothing but nulls": ({"model_type": None, "text_config": None, "architectures": None}, "no model_type"),
}
DENSE_GRANITE = {"num_local_experts": 0, "layer_types": ["attention"] * 4}
TAKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "SmolLM2": ({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_experts": None}, "Llama", "always"),
    "Qwen3.5": (
        {"model_type": "qwen3_5", "vision_config": {"depth": 27}, "text_config": {"layer_types": ["linear_attention"]}},
        "Qwen3.5",
        "gpu",
    ),
    "Gemma 3": (
        {"model_type": "gemma3", "vision_config": {}, "text_config": {"attn_logit_softcapping": None}},
        "Gemma 3",
        "always",
    ),
    "Gemma 4": ({"model_type": "gemma4", "text_config": {"enable_moe_block": False}}, "Gemma 4", "always"),
    "Ministral 3": (
        {"model_type": "mistral3", "vision_config": {"x": 1}, "text_config": {"model_type": "ministral3"}},
        "Ministral 3",
        "always",
    ),
    "Granite 4 micro": ({"model_type": "granitemoehybrid", **DENSE_GRANITE}, "Granite 4", "always"),
    "Phi-4-mini, whose code transformers has": (
        {"model_type": "phi3", "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}},
        "Phi-3",
        "always",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_proven_is_refused_with_its_reason(case: str) -> None:
    config, reason = REFUSED[case]
    with pytest.raises(ConfigError, match=reason) as refusal:
        architectures.of(config, "org/base")
    assert str(refusal.value).startswith("org/base (")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_proven_is_known_by_its_text_part(case: str) -> None:
    config, name, packs = TAKEN[case]
    found = architectures.of(config, "org/base")
    assert (found.name, found.packs) == (name, packs)


def test_every_architecture_is_one_that_transformers_loads_as_a_language_model() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    loaded = AutoModelForCausalLM._model_mapping
    for model_type in architectures.ARCHITECTURES:
        assert type(AutoConfig.for_model(model_type)) in loaded
    for whole, text in architectures.TEXT_OF.items():
        assert "text_config" in type(AutoConfig.for_model(whole)).sub_configs
        assert text in architectures.ARCHITECTURES


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 420,
}
TEXT = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
EYES = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16}
NETS = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
SEEING: dict[str, dict[str, Any]] = {
    "qwen3_5": {
        "text_config": {**TEXT, **NETS},
        "vision_config": {
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
        },
    },
    "gemma3": {"text_config": TEXT, "vision_config": {**EYES, "image_size": 28, "patch_size": 14}},
    "gemma4": {
        "text_config": {**TEXT, "global_head_dim": 16, "vocab_size_per_layer_input": 420, "num_kv_shared_layers": 0},
        "vision_config": {**EYES, "num_key_value_heads": 2},
        "audio_config": None,
    },
    "gemma4_unified": {"text_config": {**TEXT, "global_head_dim": 16}},
    "mistral3": {
        "text_config": {**TEXT, "model_type": "ministral3"},
        "vision_config": {**EYES, "model_type": "pixtral", "image_size": 28, "patch_size": 14},
        "tie_word_embeddings": False,
    },
}


@pytest.mark.parametrize("model_type", SEEING)
def test_the_text_part_of_a_model_that_sees_loads_alone_and_says_the_same(model_type: str, tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    config = AutoConfig.for_model(model_type, **SEEING[model_type])
    whole = AutoModelForImageTextToText.from_config(config).float().eval()
    whole.save_pretrained(tmp_path)
    text = AutoConfig.from_pretrained(tmp_path).get_text_config()
    part = AutoModelForCausalLM.from_pretrained(tmp_path, config=text, key_mapping=architectures.TEXT_NAMES)
    assert architectures.ARCHITECTURES[part.config.model_type] == architectures.of(config.to_dict(), model_type)
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        assert torch.equal(part.float().eval()(input_ids=ids).logits, whole(input_ids=ids).logits)
    with safe_open(tmp_path / "model.safetensors", "pt") as tensors:
        names = [name for key in tensors.keys() if (name := architectures.text_name(key)) is not None]  # noqa: SIM118
    tied = {"lm_head.weight"} if text.tie_word_embeddings else set()
    assert sorted(names) == sorted(set(part.state_dict()) - tied)


@pytest.mark.parametrize(
    ("in_the_files", "in_the_text_part"),
    [
        ("language_model.model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),  # Gemma 3
        ("language_model.lm_head.weight", "lm_head.weight"),  # Ministral 3
        ("model.language_model.embed_tokens.weight", "model.embed_tokens.weight"),  # Gemma 4
        ("lm_head.weight", "lm_head.weight"),  # Qwen3.5
        ("model.visual.blocks.0.norm1.weight", None),
        ("mtp.layers.0.mlp.up_proj.weight", None),
        ("vision_tower.encoder.layers.0.mlp.fc1.weight", None),
        ("multi_modal_projector.linear_1.weight", None),
    ],
)
def test_tensors_get_the_names_of_the_text_part(in_the_files: str, in_the_text_part: str | None) -> None:
    assert architectures.text_name(in_the_files) == in_the_text_part


def test_the_documentation_lists_what_trains() -> None:
    page = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
    section = page.split("### Which models train", 1)[1].split("###", 1)[0]
    listed = re.findall(r"^\| ([^|]+) \| (`[^|]+`) \| .* \| (yes|on a GPU) \|$", section, re.MULTILINE)
    words = {"always": "yes", "gpu": "on a GPU"}
    assert [
        (name, model_type, packs) for name, types, packs in listed for model_type in re.findall("`(.+?)`", types)
    ] == [(found.name, model_type, words[found.packs]) for model_type, found in architectures.ARCHITECTURES.items()]
