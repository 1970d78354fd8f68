"""Models and cards the planner knows without a network: shapes, licences, and what a card can do.

Output contract: `PRESETS` and `CARDS` are plain tables; `shape_of` reads the shape of any Llama-like model from its
`config.json`, `card_of` finds the entry of a card by the name and memory its driver reports.
This module downloads nothing and computes no plan.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, MissingModelError
from pipeline.models.load import find_folder

LARGEST = 13e9
"""Parameters above which the size check says so: what a small company's single card trains and serves with ease."""


@dataclass(frozen=True)
class Shape:
    """What decides memory and arithmetic of a decoder with gated MLPs: widths and counts."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool = False

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """Returns (width of the output, width of the input) of each linear layer of a block, by its usual name."""
        query, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (query, self.hidden),
            "k_proj": (kv, self.hidden),
            "v_proj": (kv, self.hidden),
            "o_proj": (self.hidden, query),
            "gate_proj": (self.intermediate, self.hidden),
            "up_proj": (self.intermediate, self.hidden),
            "down_proj": (self.hidden, self.intermediate),
        }

    @property
    def linear(self) -> int:
        """Returns the parameters of all linear layers: what NF4 holds."""
        return self.layers * sum(out * into for out, into in self.matrices.values())

    @property
    def head(self) -> int:
        """Returns the parameters of the output matrix, which the embedding's are as many as."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, tied embeddings counted once."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.linear + norms + self.head * (1 if self.tied else 2)


@dataclass(frozen=True)
class Preset:
    """A model by its hub name. `licence` is the hub's identifier; `note` is what a company must know before it
    starts."""

    name: str
    hub: str
    licence: str
    shape: Shape
    commercial: bool = True
    gated: bool = False
    note: str = ""

    @property
    def warnings(self) -> list[str]:
        """Returns what the licence and the size check have to say, nothing where all is well."""
        warnings = [] if self.commercial else ["NOT for commercial use"]
        warnings += ["gated: accept its licence on the hub first"] if self.gated else []
        warnings += [self.note] if self.note else []
        if self.shape.parameters > LARGEST:
            warnings.append(f"{self.shape.parameters / 1e9:.1f} B parameters, more than {LARGEST / 1e9:g} B")
        return warnings


_MISTRAL = Shape(4096, 14336, 32, 32, 8, 128, 32000)
_SOLAR = replace(_MISTRAL, layers=48)

PRESETS = (
    Preset("Mistral-7B", "mistralai/Mistral-7B-Instruct-v0.3", "apache-2.0", replace(_MISTRAL, vocabulary=32768)),
    Preset("Zephyr-7B", "HuggingFaceH4/zephyr-7b-beta", "mit", _MISTRAL),
    Preset(
        "CodeLlama-7B-Python",
        "codellama/CodeLlama-7b-Python-hf",
        "llama2",
        Shape(4096, 11008, 32, 32, 32, 128, 32000),
        note="free below 700 M monthly users; no chat template: set `chat_template`",
    ),
    Preset(
        "SOLAR-10.7B", "upstage/SOLAR-10.7B-v1.0", "apache-2.0", _SOLAR, note="no chat template: set `chat_template`"
    ),
    Preset("SOLAR-10.7B-Instruct", "upstage/SOLAR-10.7B-Instruct-v1.0", "cc-by-nc-4.0", _SOLAR, commercial=False),
    Preset(
        "Llama-3.1-8B",
        "meta-llama/Llama-3.1-8B-Instruct",
        "llama3.1",
        Shape(4096, 14336, 32, 32, 8, 128, 128256),
        gated=True,
        note="free below 700 M monthly users; a tuned model's name must begin with Llama",
    ),
    Preset("Qwen3-8B", "Qwen/Qwen3-8B", "apache-2.0", Shape(4096, 12288, 36, 32, 8, 128, 151936)),
    Preset("Qwen3-14B", "Qwen/Qwen3-14B", "apache-2.0", Shape(5120, 17408, 40, 40, 8, 128, 151936)),
)


@dataclass(frozen=True)
class Card:
    """A GPU: `gib` of memory as its driver reports it, `peak` bf16 FLOP/s that large matrix products reach, `bandwidth`
    of its memory in bytes/s. `assumed`: the figures are those of another card of its size."""

    name: str
    gib: float
    peak: float
    bandwidth: float
    assumed: str | None = None


def _card(name: str, gib: float, datasheet: float, gigabytes: float) -> Card:
    """Takes the data sheet's dense bf16 TFLOP/s (float32 accumulation): large products reach 0.8 of them (790 of 989
    measured on Hopper)."""
    return Card(name, gib, 0.8e12 * datasheet, 1e9 * gigabytes)


CARDS = (
    _card("RTX 4080", 15.7, 97.5, 717),
    _card("RTX 4090", 23.5, 165.2, 1008),
    _card("RTX 3090", 23.6, 71.0, 936),
    _card("L4", 22.0, 121.0, 300),
    _card("RTX 5090", 31.3, 209.5, 1792),
    _card("A100-40", 39.4, 312.0, 1555),
    _card("L40S", 44.4, 362.0, 864),
    _card("A100-80", 79.1, 312.0, 2039),
    _card("H100", 79.1, 989.0, 3350),
    _card("H200", 139.7, 989.0, 4800),
)
SIZES = {"16": "RTX 4080", "24": "RTX 4090", "40": "A100-40", "80": "A100-80", "141": "H200"}
"""The card that a size in GB stands for: of the common ones with so much memory the slower."""


def card(name: str) -> Card:
    """Returns a card by name (`4090`, `a100-80`, `H200`) or size in GB (`24`); raises `ConfigError` for another."""
    wanted = SIZES.get(name, name).lower().replace(" ", "").removeprefix("rtx")
    for candidate in CARDS:
        if candidate.name.lower().replace(" ", "").removeprefix("rtx") == wanted:
            return candidate
    names = ", ".join(candidate.name for candidate in CARDS)
    raise ConfigError(f"no card {name} in the table: known are {names}, or a size in GB out of {', '.join(SIZES)}")


def card_of(name: str, gib: float) -> Card:
    """Returns the card that a driver calls `name`, with the memory it really has.

    One that is not in the table gets the figures of the slowest one of the next smaller size, and says so.
    """
    words = name.replace("-", " ").split()
    for candidate in CARDS:
        model = candidate.name.removeprefix("RTX ").split("-")[0]
        if model in words and abs(candidate.gib - gib) < 0.2 * candidate.gib:
            return replace(candidate, gib=gib)
    smaller = [candidate for candidate in CARDS if candidate.gib <= gib * 1.02] or [min(CARDS, key=lambda c: c.gib)]
    nearest = min((c for c in smaller if c.gib == max(s.gib for s in smaller)), key=lambda c: c.peak)
    return Card(name, gib, nearest.peak, nearest.bandwidth, assumed=nearest.name)


def shape_in(config: dict[str, Any]) -> Shape | None:
    """Returns the shape that a `config.json` describes, None for a model that is not Llama-like."""
    config = config.get("text_config") or config
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        return Shape(
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError:
        return None


def folder_of(name: str) -> Path | None:
    """Returns the folder of a model that is on this machine, None for another; downloads nothing.

    Raises what `find_folder` raises for a path.
    """
    if Path(name).is_absolute():
        folder = find_folder(name)
        return folder if (folder / "config.json").is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json") if name.count("/") == 1 else None
    return Path(cached).parent if isinstance(cached, str) else None


def shape_of(name: str) -> Shape | None:
    """Returns the shape of a model: of a folder's or a cached hub model's `config.json`, or of a preset by hub name.

    None: not Llama-like. Raises `MissingModelError` where there is neither.
    """
    place = folder_of(name)
    if place is not None:
        return shape_in(json.loads((place / "config.json").read_text(encoding="utf-8")))
    preset_shape = next((preset.shape for preset in PRESETS if preset.hub.lower() == name.lower()), None)
    if preset_shape is None:
        raise MissingModelError(f"no config.json of {name}: give a local folder, or download the model first")
    return preset_shape
