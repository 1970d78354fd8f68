"""Models the planner knows without a network: shapes, licences, and what a company must know of each.

Output contract: `PRESETS` is a plain table, small models first within a family; every one of them trains here.
Each shape and licence is from the model's own configuration and card, or its authors' report.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.plan.shape import Shape, shape_in

LARGEST = 13e9
"""Parameters above which the size check says so: what a small company's single card trains and serves with ease."""


@dataclass(frozen=True)
class Preset:
    """A model by its hub name; `config` is what its `config.json` says of its text part's shape. `licence` is the hub's
    identifier; `note` is what a company must know before it starts."""

    name: str
    hub: str
    licence: str
    config: dict[str, Any]
    commercial: bool = True
    gated: bool = False
    note: str = ""

    @cached_property
    def shape(self) -> Shape:
        """The model's linear layers and other parameters."""
        return shape_in(self.config, self.hub)

    @property
    def warnings(self) -> list[str]:
        """Returns what the licence and the size check have to say, nothing where all is well."""
        warnings = [] if self.commercial else ["NOT for commercial use"]
        warnings += ["gated: accept its licence on the hub first"] if self.gated else []
        warnings += [self.note] if self.note else []
        if self.shape.parameters > LARGEST:
            warnings.append(f"{self.shape.parameters / 1e9:.1f} B parameters, more than {LARGEST / 1e9:g} B")
        return warnings


def _config(model_type: str, sizes: tuple[int, ...], **more: Any) -> dict[str, Any]:
    """Returns a configuration; `sizes` are hidden, intermediate, layers, heads, heads of keys and values, a head's
    width, vocabulary."""
    return {"model_type": model_type, **dict(zip(_SIZES, sizes, strict=True)), **more}


_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
)
_TIED: dict[str, Any] = {"tie_word_embeddings": True}
_MISTRAL = _config("mistral", (4096, 14336, 32, 32, 8, 128, 32000))
_SOLAR = _config("llama", (4096, 14336, 48, 32, 8, 128, 32000))
_KEYS_ARE_VALUES: dict[str, Any] = {"attention_k_eq_v": True, "hidden_size_per_layer_input": 0}
_E2B: dict[str, Any] = {
    "num_kv_shared_layers": 20,
    "use_double_wide_mlp": True,
    "layer_types": [*["sliding_attention"] * 4, "full_attention"] * 7,
}
_LLAMA_3 = "free below 700 M monthly users; a tuned model's name must begin with Llama"
_NO_TEMPLATE = "no chat template: set `chat_template`"
_GEMMA = "Gemma terms: prohibited uses and a notice go with every copy"
_TEXT = "its text part: no pictures"
_MINISTRAL = f"take the BF16 repository, the other holds FP8; {_TEXT}"


def _granite(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Returns the configuration of a Granite 4.0 all of whose layers attend and have no experts."""
    dense = {"num_local_experts": 0, "layer_types": ["attention"] * sizes[2], "shared_intermediate_size": sizes[1]}
    return _config("granitemoehybrid", sizes, **_TIED, **dense)


PRESETS = (
    Preset(
        "SmolLM2-135M",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "apache-2.0",
        _config("llama", (576, 1536, 30, 9, 3, 64, 49152), **_TIED),
    ),
    Preset(
        "SmolLM2-360M",
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "apache-2.0",
        _config("llama", (960, 2560, 32, 15, 5, 64, 49152), **_TIED),
    ),
    Preset(
        "SmolLM2-1.7B",
        "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        "apache-2.0",
        _config("llama", (2048, 8192, 24, 32, 32, 64, 49152), **_TIED),
    ),
    Preset(
        "SmolLM3-3B",
        "HuggingFaceTB/SmolLM3-3B",
        "apache-2.0",
        _config("smollm3", (2048, 11008, 36, 16, 4, 128, 128256), **_TIED),
    ),
    Preset(
        "Qwen3-0.6B", "Qwen/Qwen3-0.6B", "apache-2.0", _config("qwen3", (1024, 3072, 28, 16, 8, 128, 151936), **_TIED)
    ),
    Preset(
        "Qwen3-1.7B", "Qwen/Qwen3-1.7B", "apache-2.0", _config("qwen3", (2048, 6144, 28, 16, 8, 128, 151936), **_TIED)
    ),
    Preset("Qwen3-4B", "Qwen/Qwen3-4B", "apache-2.0", _config("qwen3", (2560, 9728, 36, 32, 8, 128, 151936), **_TIED)),
    Preset("Qwen3-8B", "Qwen/Qwen3-8B", "apache-2.0", _config("qwen3", (4096, 12288, 36, 32, 8, 128, 151936))),
    Preset("Qwen3-14B", "Qwen/Qwen3-14B", "apache-2.0", _config("qwen3", (5120, 17408, 40, 40, 8, 128, 151936))),
    Preset(
        "Qwen3.5-0.8B",
        "Qwen/Qwen3.5-0.8B",
        "apache-2.0",
        _config("qwen3_5", (1024, 3584, 24, 8, 2, 256, 248320), linear_num_value_heads=16, **_TIED),
        note=_TEXT,
    ),
    Preset(
        "Qwen3.5-4B",
        "Qwen/Qwen3.5-4B",
        "apache-2.0",
        _config("qwen3_5", (2560, 9216, 32, 16, 4, 256, 248320), linear_num_value_heads=32, **_TIED),
        note=_TEXT,
    ),
    Preset(
        "Qwen3.5-9B",
        "Qwen/Qwen3.5-9B",
        "apache-2.0",
        _config("qwen3_5", (4096, 12288, 32, 16, 4, 256, 248320), linear_num_value_heads=32),
        note=_TEXT,
    ),
    Preset(
        "Gemma-3-1B",
        "google/gemma-3-1b-it",
        "gemma",
        _config("gemma3_text", (1152, 6912, 26, 4, 1, 256, 262144)),
        gated=True,
        note=_GEMMA,
    ),
    Preset(
        "Gemma-3-4B",
        "google/gemma-3-4b-it",
        "gemma",
        _config("gemma3", (2560, 10240, 34, 8, 4, 256, 262208)),
        gated=True,
        note=f"{_GEMMA}; {_TEXT}",
    ),
    Preset(
        "Gemma-3-12B",
        "google/gemma-3-12b-it",
        "gemma",
        _config("gemma3", (3840, 15360, 48, 16, 8, 256, 262208)),
        gated=True,
        note=f"{_GEMMA}; {_TEXT}",
    ),
    Preset(
        "Gemma-4-E2B",
        "google/gemma-4-E2B-it",
        "apache-2.0",
        _config("gemma4", (1536, 6144, 35, 8, 1, 256, 262144), **_E2B),
        note=_TEXT,
    ),
    Preset(
        "Gemma-4-E4B",
        "google/gemma-4-E4B-it",
        "apache-2.0",
        _config("gemma4", (2560, 10240, 42, 8, 2, 256, 262144), num_kv_shared_layers=18),
        note=_TEXT,
    ),
    Preset(
        "Gemma-4-12B",
        "google/gemma-4-12B-it",
        "apache-2.0",
        _config(
            "gemma4_unified", (3840, 15360, 48, 16, 8, 256, 262144), **_KEYS_ARE_VALUES, num_global_key_value_heads=1
        ),
        note=_TEXT,
    ),
    Preset(
        "Gemma-4-31B",
        "google/gemma-4-31B-it",
        "apache-2.0",
        _config("gemma4", (5376, 21504, 60, 32, 16, 256, 262144), **_KEYS_ARE_VALUES, num_global_key_value_heads=4),
        note=_TEXT,
    ),
    Preset(
        "Ministral-3-3B",
        "mistralai/Ministral-3-3B-Instruct-2512-BF16",
        "apache-2.0",
        _config("mistral3", (3072, 9216, 26, 32, 8, 128, 131072), **_TIED),
        note=_MINISTRAL,
    ),
    Preset(
        "Ministral-3-8B",
        "mistralai/Ministral-3-8B-Instruct-2512-BF16",
        "apache-2.0",
        _config("mistral3", (4096, 14336, 34, 32, 8, 128, 131072)),
        note=_MINISTRAL,
    ),
    Preset(
        "Ministral-3-14B",
        "mistralai/Ministral-3-14B-Instruct-2512-BF16",
        "apache-2.0",
        _config("mistral3", (5120, 16384, 40, 32, 8, 128, 131072)),
        note=_MINISTRAL,
    ),
    Preset(
        "Granite-4.0-1B", "ibm-granite/granite-4.0-1b", "apache-2.0", _granite((2048, 4096, 40, 16, 4, 128, 100352))
    ),
    Preset(
        "Granite-4.0-Micro",
        "ibm-granite/granite-4.0-micro",
        "apache-2.0",
        _granite((2560, 8192, 40, 40, 8, 64, 100352)),
    ),
    Preset(
        "Granite-4.1-8B",
        "ibm-granite/granite-4.1-8b",
        "apache-2.0",
        _config("granite", (4096, 12800, 40, 32, 8, 128, 100352), **_TIED),
    ),
    Preset(
        "Phi-4-mini",
        "microsoft/Phi-4-mini-instruct",
        "mit",
        _config("phi3", (3072, 8192, 32, 24, 8, 128, 200064), **_TIED),
    ),
    Preset(
        "OLMo-3-7B",
        "allenai/Olmo-3-7B-Instruct",
        "apache-2.0",
        _config("olmo3", (4096, 11008, 32, 32, 32, 128, 100278)),
    ),
    Preset(
        "Llama-3.1-8B",
        "meta-llama/Llama-3.1-8B-Instruct",
        "llama3.1",
        _config("llama", (4096, 14336, 32, 32, 8, 128, 128256)),
        gated=True,
        note=_LLAMA_3,
    ),
    Preset("Mistral-7B", "mistralai/Mistral-7B-Instruct-v0.3", "apache-2.0", {**_MISTRAL, "vocab_size": 32768}),
    Preset("Zephyr-7B", "HuggingFaceH4/zephyr-7b-beta", "mit", _MISTRAL),
    Preset(
        "CodeLlama-7B-Python",
        "codellama/CodeLlama-7b-Python-hf",
        "llama2",
        _config("llama", (4096, 11008, 32, 32, 32, 128, 32000)),
        note=f"free below 700 M monthly users; {_NO_TEMPLATE}",
    ),
    Preset("SOLAR-10.7B", "upstage/SOLAR-10.7B-v1.0", "apache-2.0", _SOLAR, note=_NO_TEMPLATE),
    Preset("SOLAR-10.7B-Instruct", "upstage/SOLAR-10.7B-Instruct-v1.0", "cc-by-nc-4.0", _SOLAR, commercial=False),
)
