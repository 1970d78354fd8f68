"""A merged model folder as one GGUF file in F16.

Output contract: `convert` writes every tensor of the folder's language model once, under llama.cpp's name for it:
matrices in F16, vectors and short convolutions in F32, with the model's hyperparameters and vocabulary. One tensor is
in memory at a time. What `gguf_architectures` does not know is a `ConfigError`.
This module does not quantise, load or compare: `gguf` does.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import IntegrityError
from pipeline.export import gguf_architectures, gguf_gemma4, gguf_vocabulary
from pipeline.export.gguf_architectures import Architecture, head_width, rope, rotated
from pipeline.models.architectures import part_name
from pipeline.models.load import json_object
from pipeline.models.safetensors_io import read, shapes

if TYPE_CHECKING:
    import numpy as np
    import torch

_F16_MOST = 65504.0


def convert(folder: Path, target: Path, tokenizer: Any, name: str, chat_template: str) -> None:
    """Writes `target`; raises `ConfigError` for a model that is not known, `IntegrityError` for one that does not fit.

    `tokenizer` is the folder's; `chat_template` goes into the file.
    """
    import gguf
    import torch

    config = text_config(folder)
    gguf_architectures.check(config, [])
    architecture = gguf_architectures.find(config)
    writer = gguf.GGUFWriter(target, architecture.name)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _hyperparameters(writer, config, architecture)
    gguf_vocabulary.write(writer, folder, tokenizer, config.vocab_size, chat_template)
    factors = _rope_factors(config)
    for theirs, content in factors.items():
        writer.add_tensor_info(theirs, content.shape, content.dtype, content.nbytes)
    planned = ((name, torch.empty(shape, device="meta")) for name, shape in _text(folder, shapes(folder)))
    for theirs, tensor in _named(planned, config, architecture):
        number = _type(theirs, tensor)
        writer.add_tensor_info(theirs, tuple(tensor.shape), number, tensor.numel() * number.itemsize)
    with contextlib.closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for content in factors.values():
            writer.write_tensor_data(content)
        for theirs, tensor in _named(_text(folder, read(folder)), config, architecture):
            if tensor.ndim > 1 and float(tensor.abs().max()) > _F16_MOST:
                raise IntegrityError(f"{theirs} holds numbers beyond the range of F16: it cannot become a GGUF file")
            writer.write_tensor_data(tensor.float().contiguous().numpy().astype(_type(theirs, tensor)))


def text_config(folder: Path) -> Any:
    """Returns the configuration of a model folder's text part; loads no weights."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder).get_text_config()


def _text(folder: Path, tensors: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yields the tensors of the text part of a model that also sees or hears, under its own names; else all."""
    config = json_object(folder / "config.json")
    for name, tensor in tensors:
        ours = part_name(config, name)
        if ours is not None:
            yield ours, tensor


def _named(
    tensors: Iterator[tuple[str, torch.Tensor]], config: Any, architecture: Architecture
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields every tensor as llama.cpp stores it; raises `IntegrityError` for one that it has no name for."""
    import gguf

    number = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture.name)
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    for name, whole in tensors:
        for ours, tensor in architecture.tensors(name, whole, config).items():
            theirs = ours if ours.startswith("blk.") else names.get_name(ours, try_suffixes=(".weight", ".bias"))
            if theirs is None:
                raise IntegrityError(f"llama.cpp's {architecture.name} has no tensor for {name}")
            yield theirs, tensor


def _type(name: str, tensor: torch.Tensor) -> np.dtype[Any]:
    import numpy as np

    return np.dtype(np.float16 if tensor.ndim > 1 and "conv1d" not in name else np.float32)


def _hyperparameters(writer: Any, config: Any, architecture: Architecture) -> None:
    """The context ends where a sliding window or a rotation would begin that llama.cpp runs otherwise."""
    windowed = getattr(config, "use_sliding_window", True) and not architecture.windows
    ends = [config.max_position_embeddings, windowed and getattr(config, "sliding_window", None)]
    if rope(config)["rope_type"] == "longrope":
        ends.append(config.original_max_position_embeddings)
    writer.add_context_length(min(end for end in ends if end))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    own = architecture.per_layer(config)
    writer.add_feed_forward_length(own.get("feed_forward_length") or config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(own.get("head_count_kv") or config.num_key_value_heads)
    writer.add_key_length(head_width(config))
    writer.add_value_length(head_width(config))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(rotated(config))
    _rope(writer, rope(config))
    architecture.keys(writer, config)


def _rope(writer: Any, settings: dict[str, Any]) -> None:
    import gguf

    writer.add_rope_freq_base(settings["rope_theta"])
    kinds = {"linear": gguf.RopeScalingType.LINEAR, "yarn": gguf.RopeScalingType.YARN}
    if settings["rope_type"] in kinds:
        writer.add_rope_scaling_type(kinds[settings["rope_type"]])
        writer.add_rope_scaling_factor(settings["factor"])
    if settings["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(settings["original_max_position_embeddings"])


def _rope_factors(config: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Returns what a scaling divides each rotary frequency by, (rotated numbers / 2,) under llama.cpp's names.

    Llama 3.1's stretches long wavelengths by `factor`, short ones not, those between in part (transformers,
    `_compute_llama3_parameters`).
    """
    import numpy as np

    settings = rope(config)
    if settings["rope_type"] == "proportional":
        return gguf_gemma4.factors(config)
    if settings["rope_type"] == "longrope":
        lengths = ("long", "short")
        return {f"rope_factors_{one}.weight": np.asarray(settings[f"{one}_factor"], np.float32) for one in lengths}
    if settings["rope_type"] != "llama3":
        return {}
    width = head_width(config)
    wavelength = 2 * math.pi * settings["rope_theta"] ** (np.arange(0, width, 2) / width)
    turns = settings["original_max_position_embeddings"] / wavelength
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return {"rope_freqs.weight": np.asarray(1 / ((1 - kept) / settings["factor"] + kept), np.float32)}
