"""What a model holds: the linear layers of its blocks, by kind of block, and all its other parameters.

Output contract: `shape_in` reads a `config.json` of a proven architecture as that architecture's code in transformers
does, what the file leaves out included; its parameters are those of the text part, counted once where they are tied.
A number that is missing or null is a `ConfigError`.
This module loads no weights and builds no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError
from pipeline.models import architectures

Matrices = dict[str, tuple[int, int]]
"""(width of the output, width of the input) of linear layers, by name."""


@dataclass(frozen=True)
class Layers:
    """Layers that are alike: how many, and the linear layers of one. The last of `mixer` and of `mlp` leads back to the
    residual stream; `others` are a layer's parameters outside of linear layers' weights."""

    count: int
    mixer: Matrices
    mlp: Matrices
    others: int

    @property
    def matrices(self) -> Matrices:
        """Returns all linear layers of a block."""
        return {**self.mixer, **self.mlp}

    @property
    def linear(self) -> int:
        """Returns the parameters of a block's linear layers."""
        return sum(out * into for out, into in self.matrices.values())


@dataclass(frozen=True)
class Shape:
    """What decides memory and arithmetic of a decoder; `others` are parameters outside of layers and embeddings."""

    hidden: int
    vocabulary: int
    tied: bool
    kinds: tuple[Layers, ...]
    others: int

    @property
    def layers(self) -> int:
        """Returns how many blocks there are."""
        return sum(kind.count for kind in self.kinds)

    @property
    def linear(self) -> int:
        """Returns the parameters of all linear layers: what NF4 holds."""
        return sum(kind.count * kind.linear for kind in self.kinds)

    @property
    def head(self) -> int:
        """Returns the parameters of the output matrix, which the embedding's are as many as."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, tied embeddings counted once."""
        small = self.others + sum(kind.count * kind.others for kind in self.kinds)
        return self.linear + small + self.head * (1 if self.tied else 2)


_GEMMA4 = {"head_dim": 256, "global_head_dim": 512, "num_key_value_heads": 4, "tie_word_embeddings": True}
DEFAULTS: dict[str, dict[str, Any]] = {
    "mistral": {"num_key_value_heads": 8},
    "ministral3": {"num_key_value_heads": 8, "head_dim": 128},
    "qwen2": {"num_key_value_heads": 32},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128},
    "qwen3_5_text": {
        "num_key_value_heads": 4,
        "head_dim": 256,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
    },
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "tie_word_embeddings": True,
    },
    "gemma4_text": {**_GEMMA4, "hidden_size_per_layer_input": 256, "vocab_size_per_layer_input": 262144},
    "gemma4_unified_text": _GEMMA4,
    "smollm3": {"num_key_value_heads": 4, "tie_word_embeddings": True},
    "granitemoehybrid": {"shared_intermediate_size": 1024},
}
"""What transformers takes for a key that a `config.json` leaves out, where that is not the key's absence."""


class _Numbers:
    """The numbers of a text part's configuration; `name` is the model's, for errors."""

    def __init__(self, config: dict[str, Any], name: str) -> None:
        self.text, self.name = architectures.text_part(config), name
        self.kind = str(self.text["model_type"])

    def get(self, key: str) -> Any:
        return self.text.get(key, DEFAULTS.get(self.kind, {}).get(key))

    def number(self, key: str, instead: int | None = None) -> int:
        """Returns a positive number, `instead` where the file has null or nothing."""
        value = self.get(key)
        value = instead if value is None else value
        if not isinstance(value, int) or (value < 1 and value != instead):
            found = "null" if value is None else repr(value)
            raise ConfigError(f"{self.name}: its config.json has no number for {key}, but {found}")
        return value

    def types(self, usual: str, every: int, other: str) -> list[str]:
        """Returns the kind of each layer: as listed, or `other` for each so many and `usual` between them."""
        layers = self.number("num_hidden_layers")
        listed = self.get("layer_types") or [usual if (i + 1) % every else other for i in range(layers)]
        if len(listed) != layers:
            raise ConfigError(f"{self.name}: its config.json lists {len(listed)} layer_types for {layers} layers")
        return [str(listed_type) for listed_type in listed]


def shape_in(config: dict[str, Any], name: str = "this model") -> Shape:
    """Returns the shape that a parsed `config.json` describes; `name` is the model's, for errors.

    Raises `ConfigError` for an architecture that is not proven here and for a file without the numbers.
    """
    architectures.of(config, name)
    numbers = _Numbers(config, name)
    kinds = _KINDS.get(numbers.kind, _alike)(numbers)
    hidden = numbers.number("hidden_size")
    others = hidden + _per_layer_tables(numbers, hidden)
    return Shape(hidden, numbers.number("vocab_size"), bool(numbers.get("tie_word_embeddings")), kinds, others)


def _attention(hidden: int, heads: int, kv_heads: int, head_dim: int) -> Matrices:
    query, kv = heads * head_dim, kv_heads * head_dim
    return {"q_proj": (query, hidden), "k_proj": (kv, hidden), "v_proj": (kv, hidden), "o_proj": (hidden, query)}


def _gated(hidden: int, intermediate: int) -> Matrices:
    wide = (intermediate, hidden)
    return {"gate_proj": wide, "up_proj": wide, "down_proj": (hidden, intermediate)}


def _usual(numbers: _Numbers) -> tuple[int, int, int, int]:
    """Returns hidden width, heads, heads of keys and values, and a head's width."""
    hidden, heads = numbers.number("hidden_size"), numbers.number("num_attention_heads")
    return hidden, heads, numbers.number("num_key_value_heads", heads), numbers.number("head_dim", hidden // heads)


def _biases(numbers: _Numbers, mixer: Matrices, mlp: Matrices) -> int:
    """Returns the biases of a layer's linear layers, by the switches that the architecture's code reads."""
    biased: list[str] = ["q_proj", "k_proj", "v_proj"] if numbers.kind == "qwen2" else []
    if numbers.kind not in {"mistral", "ministral3", "phi3", "qwen2"} and numbers.get("attention_bias"):
        biased += mixer
    if numbers.kind in {"llama", "smollm3", "granite"} and numbers.get("mlp_bias"):
        biased += mlp
    return sum({**mixer, **mlp}[name][0] for name in biased)


def _alike(numbers: _Numbers) -> tuple[Layers, ...]:
    """Layers that are all alike, which most architectures have: attention and a gated MLP, two to four norms."""
    hidden, heads, kv_heads, head_dim = _usual(numbers)
    mixer, mlp = _attention(hidden, heads, kv_heads, head_dim), {}
    if numbers.kind == "granitemoehybrid":
        shared = numbers.number("shared_intermediate_size")
        mlp = {"input_linear": (2 * shared, hidden), "output_linear": (hidden, shared)}
    else:
        mlp = _gated(hidden, numbers.number("intermediate_size"))
    if numbers.kind == "phi3":
        mixer = {"qkv_proj": ((heads + 2 * kv_heads) * head_dim, hidden), "o_proj": mixer["o_proj"]}
        mlp = {"gate_up_proj": (2 * mlp["gate_proj"][0], hidden), "down_proj": mlp["down_proj"]}
    norms = (4 if numbers.kind == "gemma3_text" else 2) * hidden
    norms += {"qwen3": 2, "gemma3_text": 2, "olmo3": heads + kv_heads}.get(numbers.kind, 0) * head_dim
    others = norms + _biases(numbers, mixer, mlp)
    return (Layers(numbers.number("num_hidden_layers"), mixer, mlp, others),)


def _qwen3_5(numbers: _Numbers) -> tuple[Layers, ...]:
    """Three gated delta-nets, then one attention with a gate beside each query."""
    hidden, heads, kv_heads, head_dim = _usual(numbers)
    mixer, mlp = _attention(hidden, 2 * heads, kv_heads, head_dim), _gated(hidden, numbers.number("intermediate_size"))
    mixer["o_proj"] = (hidden, heads * head_dim)
    values, width = numbers.number("linear_num_value_heads"), numbers.number("linear_value_head_dim")
    keys = numbers.number("linear_num_key_heads") * numbers.number("linear_key_head_dim")
    both, value = 2 * keys + values * width, values * width
    net = {"in_proj_qkv": (both, hidden), "in_proj_z": (value, hidden)}
    net |= {"in_proj_b": (values, hidden), "in_proj_a": (values, hidden), "out_proj": (hidden, value)}
    types = numbers.types("linear_attention", 4, "full_attention")
    attends = types.count("full_attention")
    small = 2 * values + width + both * numbers.number("linear_conv_kernel_dim")  # decay, its bias, norm, convolution
    return (
        Layers(len(types) - attends, net, mlp, 2 * hidden + small),
        Layers(attends, mixer, mlp, 2 * hidden + 2 * head_dim + _biases(numbers, mixer, mlp)),
    )


def _gemma4(numbers: _Numbers) -> tuple[Layers, ...]:
    """Layers that look back a window, and every fifth or sixth at all; the upper ones may share keys and values."""
    types = numbers.types("sliding_attention", 6, "full_attention")
    types[-1] = "full_attention"
    own = len(types) - numbers.number("num_kv_shared_layers", 0)
    kinds = Counter((layer_type == "full_attention", number >= own) for number, layer_type in enumerate(types))
    return tuple(_gemma4_layers(numbers, *kind, count) for kind, count in kinds.items())


def _gemma4_layers(numbers: _Numbers, full: bool, shares: bool, count: int) -> Layers:
    hidden, heads, kv_heads, head_dim = _usual(numbers)
    keys_are_values = full and bool(numbers.get("attention_k_eq_v"))
    head_dim = numbers.number("global_head_dim", head_dim) if full else head_dim
    kv_heads = numbers.number("num_global_key_value_heads", kv_heads) if keys_are_values else kv_heads
    mixer = _attention(hidden, heads, kv_heads, head_dim)
    left_out = ["k_proj", "v_proj"] if shares else ["v_proj"] if keys_are_values else []
    mixer = {name: matrix for name, matrix in mixer.items() if name not in left_out}
    wide = 2 if shares and numbers.get("use_double_wide_mlp") else 1
    mlp = _gated(hidden, wide * numbers.number("intermediate_size"))
    norms = 4 * hidden + (1 if shares else 2) * head_dim
    if tables := numbers.number("hidden_size_per_layer_input", 0):
        mlp = {"per_layer_input_gate": (tables, hidden), "per_layer_projection": (hidden, tables), **mlp}
        norms += hidden
    return Layers(count, mixer, mlp, norms + _biases(numbers, mixer, {}))


def _per_layer_tables(numbers: _Numbers, hidden: int) -> int:
    """Returns the parameters of an embedding for each layer, and of what leads into it: Gemma 4's small models."""
    width = numbers.number("hidden_size_per_layer_input", 0)
    if not width:
        return 0
    vocabulary, layers = numbers.number("vocab_size_per_layer_input"), numbers.number("num_hidden_layers")
    return width * (layers * (vocabulary + hidden) + 1)


_KINDS: dict[str, Callable[[_Numbers], tuple[Layers, ...]]] = {
    "qwen3_5_text": _qwen3_5,
    "gemma4_text": _gemma4,
    "gemma4_unified_text": _gemma4,
}
