"""A merged model folder as one GGUF file in F16.

Output contract: `convert` writes every tensor of the folder once, under llama.cpp's name for it: matrices in F16,
vectors in F32, with the model's hyperparameters and vocabulary. One tensor is in memory at a time. Llama, Mistral
(Zephyr, CodeLlama, SOLAR are of these), Qwen2 and Qwen3 are known; any other architecture is a `ConfigError`, and so is
a rotary scaling that is not default, linear or llama3.
This module does not quantise, load or compare: `gguf` does.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, IntegrityError
from pipeline.export import gguf_vocabulary
from pipeline.models.safetensors_io import read, shapes

if TYPE_CHECKING:
    import numpy as np
    import torch

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
_PERMUTED = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}
_F16_MOST = 65504.0


def convert(folder: Path, target: Path, tokenizer: Any, name: str, chat_template: str) -> None:
    """Writes `target`; raises `ConfigError` for a model that is not known, `IntegrityError` for one that does not fit.

    `tokenizer` is the folder's; `chat_template` goes into the file.
    """
    import gguf

    config = text_config(folder)
    kind = _architecture(config, folder)
    writer = gguf.GGUFWriter(target, kind)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _hyperparameters(writer, config)
    gguf_vocabulary.write(writer, folder, tokenizer, config.vocab_size, chat_template)
    _announce(writer, folder, config, kind)
    factors = _rope_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    with contextlib.closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for array in _arrays(folder, config, kind):
            writer.write_tensor_data(array)
        if factors is not None:
            writer.write_tensor_data(factors)


def text_config(folder: Path) -> Any:
    """Returns the configuration of a model folder's language part; loads no weights."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder).get_text_config()


def _announce(writer: Any, folder: Path, config: Any, kind: str) -> None:
    """Tells the writer the name, shape and type of every tensor that follows."""
    import gguf
    import numpy as np

    arch = next(number for number, candidate in gguf.MODEL_ARCH_NAMES.items() if candidate == kind)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, shape in shapes(folder):
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise IntegrityError(f"llama.cpp's {kind} has no tensor for {name}")
        number = np.dtype(np.float16 if len(shape) > 1 else np.float32)
        writer.add_tensor_info(theirs, shape, number, math.prod(shape) * number.itemsize)


def _architecture(config: Any, folder: Path) -> str:
    name = (config.architectures or ["none"])[0]
    if name not in ARCHITECTURES:
        supported = ", ".join(kind.removesuffix("ForCausalLM") for kind in ARCHITECTURES)
        raise ConfigError(f"export.gguf: {folder.name} is a {name}; {supported} can be converted")
    return ARCHITECTURES[name]


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _hyperparameters(writer: Any, config: Any) -> None:
    """llama.cpp runs these models without a sliding window: the context ends where one would begin to matter."""
    import gguf

    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    writer.add_context_length(min(config.max_position_embeddings, window or config.max_position_embeddings))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(_head_width(config))
    writer.add_value_length(_head_width(config))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(_head_width(config))
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif rope["rope_type"] not in {"default", "llama3"}:
        raise ConfigError(f"export.gguf: rotary scaling '{rope['rope_type']}' cannot be converted")


def _rope_factors(config: Any) -> np.ndarray[Any, Any] | None:
    """Returns what Llama 3.1's scaling divides each rotary frequency by, None for another; shape (head width / 2,).

    Long wavelengths are stretched by `factor`, short ones not, those between in part (transformers,
    `_compute_llama3_parameters`).
    """
    import numpy as np

    rope = config.rope_parameters
    if rope["rope_type"] != "llama3":
        return None
    width = _head_width(config)
    wavelength = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, width, 2) / width)
    turns = rope["original_max_position_embeddings"] / wavelength
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return np.asarray(1 / ((1 - kept) / rope["factor"] + kept), np.float32)


def _arrays(folder: Path, config: Any, kind: str) -> Iterator[np.ndarray[Any, Any]]:
    """Yields every tensor as llama.cpp stores it, in the order of `shapes`."""
    import torch

    for name, tensor in read(folder):
        stem = name.rsplit(".", 1)[0]
        heads = next((count for part, count in _PERMUTED.items() if stem.endswith(part)), None)
        if heads is not None and kind == "llama":
            tensor = _interleave(tensor, getattr(config, heads))
        wanted = torch.float16 if tensor.ndim > 1 else torch.float32
        if tensor.ndim > 1 and float(tensor.abs().max()) > _F16_MOST:
            raise IntegrityError(f"{name} holds numbers beyond the range of F16: it cannot become a GGUF file")
        yield tensor.to(wanted).contiguous().numpy()


def _interleave(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Undoes Hugging Face's order of rotary pairs: halves become neighbours, which llama.cpp rotates for Llama."""
    rows = tensor.shape[0] // heads // 2
    return tensor.reshape(heads, 2, rows, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
