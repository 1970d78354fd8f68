"""What is proven of each architecture, and why another one is not trained: read from `config.json` alone.

Output contract: `of` returns the entry of the architecture, or raises `ConfigError` with one sentence before anything
is loaded. `text_part` is the configuration of the part that trains: of a model that also sees or hears, its text model,
whose tensors the base's files call by the longer names of `TEXT_NAMES`.
This module imports nothing heavy and reads no file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Architecture:
    """One that trains here. `packs`: whether packed rows are proven not to see each other; `gpu`: only with CUDA
    kernels that take the bounds of sequences. `gguf`: llama.cpp's name for it, None where it is not converted.
    `one_cache`: whether all layers keep keys and values of one shape, as the engine `hf` has them."""

    name: str
    packs: Literal["always", "gpu", "never"]
    gguf: str | None
    one_cache: bool = True


ARCHITECTURES = {
    "llama": Architecture("Llama", "always", "llama"),
    "mistral": Architecture("Mistral", "always", "llama"),
    "ministral3": Architecture("Ministral 3", "always", "mistral3"),
    "qwen2": Architecture("Qwen2", "always", "qwen2"),
    "qwen3": Architecture("Qwen3", "always", "qwen3"),
    "qwen3_5_text": Architecture("Qwen3.5", "gpu", "qwen35", one_cache=False),
    "gemma3_text": Architecture("Gemma 3", "always", "gemma3"),
    "gemma4_text": Architecture("Gemma 4", "always", "gemma4", one_cache=False),
    "gemma4_unified_text": Architecture("Gemma 4", "always", "gemma4", one_cache=False),
    "smollm3": Architecture("SmolLM3", "always", "smollm3"),
    "granite": Architecture("Granite", "always", "granite"),
    "granitemoehybrid": Architecture("Granite 4", "always", "granite"),  # dense ones, all of whose layers attend
    "phi3": Architecture("Phi-3", "always", "phi3"),
    "olmo3": Architecture("OLMo 3", "always", "olmo2"),
}
"""By `model_type` in the configuration of the text part."""

TEXT_OF = {
    "qwen3_5": "qwen3_5_text",
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "gemma4_unified": "gemma4_unified_text",
    "mistral3": "mistral",
}
"""Models that also see or hear and whose text part loads alone, with its `model_type` where the file names none."""

TEXT_NAMES = {
    r"^(model\.)?language_model\.(model\.)?(?!lm_head)": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
}
"""How a tensor's name in the files of such a model becomes its name in the text part: for `key_mapping`."""

_STATE = "it carries a state from token to token (a state-space or recurrent model), which is not proven here"
_EXPERTS = "it is a mixture of experts, whose expert weights LoRA and NF4 do not reach here"
_LATENT = "it compresses keys and values (multi-latent attention), which is not proven here"
_SINKS = "its attention has sinks, which no kernel here computes"
_ALIBI = "it tells positions by ALiBi, which no kernel here computes"
_LEARNED = "it learns a vector for each position (absolute positions), which is not proven here"
_SOFTCAP = "it caps the logits of its attention, which no kernel here computes"
_ENCODER = "it is no causal language model"
_SEES = "it takes pictures or sound, and its text part is not loaded alone here"

_REASONS = {
    _STATE: "mamba mamba2 falcon_mamba falcon_h1 jamba bamba nemotron_h nemotron_h_omni zamba zamba2 rwkv xlstm lfm2 "
    "lfm3 recurrent_gemma olmo_hybrid qwen3_next plamo2 kimi_linear bailing_hybrid minimax",
    _SINKS: "gpt_oss",
    _ALIBI: "bloom mpt",
    _LEARNED: "gpt2 gpt-sw3 gpt_neo gpt_bigcode opt xglm biogpt openai-gpt ctrl",
    _EXPERTS: "mixtral qwen2_moe qwen3_moe qwen3_5_moe qwen3_5_moe_text qwen3_omni_moe dbrx granitemoe "
    "granitemoeshared granitemoe_swa olmoe flex_olmo phimoe llama4 llama4_text ernie4_5_moe glm4_moe glm4_moe_lite "
    "hunyuan_v1_moe dots1 exaone_moe minimax_m2 jetmoe lfm2_moe cohere2_moe afmoe grok1 grok",
    _LATENT: "deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 minicpm3 longcat_flash glm_moe_dsa youtu mistral4",
    _SOFTCAP: "gemma2 vaultgemma",
    _ENCODER: "bert roberta distilbert albert electra deberta deberta-v2 modernbert xlm-roberta mpnet t5 mt5 umt5 bart "
    "mbart pegasus marian m2m_100 nllb-moe longt5 t5gemma t5gemma2 switch_transformers whisper",
}
_WHY = {model_type: reason for reason, types in _REASONS.items() for model_type in types.split()}

_INSTEAD = {
    "gemma3n": "google/gemma-3-4b-it",
    "mllama": "meta-llama/Llama-3.1-8B-Instruct",
    "phi4_multimodal": "microsoft/Phi-4-mini-instruct",
    "qwen2_vl": "Qwen/Qwen3-8B",
    "qwen2_5_vl": "Qwen/Qwen3-8B",
    "qwen3_vl": "Qwen/Qwen3-8B",
}
"""A text model of its family to take instead."""

_COUNTS_OF_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_SENSES = ("vision_config", "audio_config", "vision_tower", "mm_vision_tower")
_QUANTISED = ("quantization_config", "compression_config")
_HEADS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")


def of(config: dict[str, Any], name: str) -> Architecture:
    """Returns what is proven of the architecture that a parsed `config.json` describes; `name` is the model's.

    Raises `ConfigError` for one that cannot be trained here.
    """
    text, whole = text_part(config), str(config.get("model_type") or "")
    kind = str(text["model_type"])
    checks = (
        _WHY.get(kind) or _WHY.get(whole),
        _inside(text, kind),
        _senses(config, whole),
        _ENCODER if config.get("is_encoder_decoder") else None,
        _unknown(config, kind),
        _quantised(config, text),
        _without_head(config),
    )
    for reason in filter(None, checks):
        raise ConfigError(f"{name} ({whole or 'no model_type'}) cannot be trained here: {reason}")
    return ARCHITECTURES[kind]


def text_part(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the configuration of the text model, with its `model_type`: the nested one, or the whole."""
    whole, text = str(config.get("model_type") or ""), config.get("text_config")
    kind = TEXT_OF.get(whole, whole)
    if not isinstance(text, dict):
        return {**config, "model_type": kind}
    found = {"model_type": kind, **text}
    if config.get("tie_word_embeddings") is not None:
        found.setdefault("tie_word_embeddings", config["tie_word_embeddings"])
    return found


def part_name(config: dict[str, Any], name: str) -> str | None:
    """Returns what a tensor in the files of a model with this `config.json` is called in the part that trains, None for
    one that is not of it."""
    return text_name(name) if isinstance(config.get("text_config"), dict) else name


def text_name(name: str) -> str | None:
    """Returns what a tensor in the files of a model that also sees or hears is called in its text part, None for one
    that is not of it."""
    for pattern, replacement in TEXT_NAMES.items():
        renamed, found = re.subn(pattern, replacement, name)
        if found:
            return renamed
    return name if name.startswith("lm_head.") else None


def _inside(text: dict[str, Any], kind: str) -> str | None:
    """Returns what the numbers of a configuration tell, whatever the architecture is called."""
    layers = text.get("layer_types") or text.get("layers_block_type") or []
    least = {"granitemoehybrid": 0}.get(kind, 1)  # there one expert is routed to as well
    counts = [text.get(key) for key in _COUNTS_OF_EXPERTS]
    if text.get("enable_moe_block") or any(isinstance(count, int) and count > least for count in counts):
        return _EXPERTS
    if kind == "granitemoehybrid" and not (layers and set(layers) <= {"attention", "full_attention"}):
        return _STATE
    if "mamba" in layers or ("linear_attention" in layers and kind != "qwen3_5_text"):
        return _STATE
    inner = text.get("attn_config")
    if text.get("alibi") or (isinstance(inner, dict) and inner.get("alibi")):
        return _ALIBI
    if text.get("kv_lora_rank"):
        return _LATENT
    return _SOFTCAP if text.get("attn_logit_softcapping") else None


def _senses(config: dict[str, Any], whole: str) -> str | None:
    if whole in TEXT_OF or not (any(config.get(key) for key in _SENSES) or whole in _INSTEAD):
        return None
    instead = _INSTEAD.get(whole)
    return f"{_SEES}; take {instead or 'a text-only model'} instead"


def _unknown(config: dict[str, Any], kind: str) -> str | None:
    if kind in ARCHITECTURES:
        return None
    if config.get("auto_map"):
        return "only Python code that comes with it can load it, and none is run here"
    return "its architecture is not proven here"


def _quantised(config: dict[str, Any], text: dict[str, Any]) -> str | None:
    given = next((part[key] for part in (config, text) for key in _QUANTISED if part.get(key)), None)
    if given is None:
        return None
    method = given.get("quant_method") if isinstance(given, dict) else None
    return f"its weights are quantised already{f' ({method})' if method else ''}; name the unquantised model"


def _without_head(config: dict[str, Any]) -> str | None:
    """Returns a reason for weights that were saved without the matrix that predicts the next token."""
    classes = [str(name) for name in config.get("architectures") or []]
    if not classes or any(name.endswith(_HEADS) for name in classes):
        return None
    return f"its weights are those of a {classes[0]}, not of a causal language model"
