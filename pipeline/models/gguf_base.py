"""A GGUF file as a base model: its weights dequantised into a folder that every job loads like any other.

Output contract: `folder_of` returns a folder of safetensors, configuration, tokenizer with its template and a card,
made once per content of the file and kept in this machine's cache; `write` fills a given folder. A tensor of the file
in F32 or BF16 stays as it is; any other kind is dequantised to F16, which keeps 11 bits of what 2 to 8 bits times an
F16 scale stand for. The folder's `dtype`, what a model computes in unless told, is bf16. The architecture makes the
list of tensors, and the file must hold exactly those. What cannot be read back is a `ConfigError`.
This module quantises nothing and knows no conversion of `export.gguf`.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, MissingModelError
from pipeline.model_fingerprint import model_fingerprint
from pipeline.models import gguf_tokenizer
from pipeline.models.safetensors_io import Shards
from pipeline.storage import cache_folder, lent, sha256, storage_errors

if TYPE_CHECKING:
    import torch

FORMAT = 1  # raise it when the same file becomes another folder
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_PERMUTED = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}


def folder_of(file: Path) -> Path:
    """Returns the folder made of a GGUF file, which is made now where this machine's cache does not hold it.

    Raises `MissingModelError` without the package `gguf`, `ConfigError` for a file that cannot be read back.
    """
    folder = cache_folder() / "models" / f"gguf-{model_fingerprint(str(file))[:16]}-{FORMAT}"
    publish(folder, lambda place: write(file, place))
    return folder


def publish(folder: Path, fill: Callable[[Path], None]) -> None:
    """Makes a folder whole or not at all, and once: a second process waits for the first, then finds it there."""
    if folder.is_dir():
        return
    temporary, guard = folder.with_name(f".{folder.name}.tmp"), folder.with_name(f".{folder.name}.lock")
    with storage_errors(str(folder)):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with guard.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.is_dir():
                return
            with lent(temporary):
                fill(temporary)
                temporary.rename(folder)
            guard.unlink()  # whoever waits for it finds the folder


def write(file: Path, folder: Path) -> None:
    """Fills an empty folder from a GGUF file; raises what `folder_of` raises."""
    try:
        import gguf
    except ImportError as error:
        raise MissingModelError(f"{file} needs the package gguf: pip install 'solotune[gguf]'") from error
    try:
        reader = gguf.GGUFReader(file)
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{file} is no GGUF file, or is cut: {error}") from error
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    try:
        config = _config(metadata, tensors)
        gguf_tokenizer.write(metadata, folder)
        _weights(config, metadata["general.architecture"], tensors, folder)
    except ConfigError as error:
        raise ConfigError(f"{file} cannot be a base model: {error}") from error
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(_generation(metadata), indent=2) + "\n")
    (folder / "README.md").write_text(_card(file, metadata), encoding="utf-8")


def _config(metadata: dict[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    """Returns `config.json`."""
    kind = metadata.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise ConfigError(f"its architecture is {kind}; {', '.join(ARCHITECTURES)} can be read")

    def value(key: str, default: Any = None) -> Any:
        return metadata.get(f"{kind}.{key}", default)

    heads, width = value("attention.head_count"), value("embedding_length")
    bias = "blk.0.attn_q.bias" in tensors
    config = {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "dtype": "bfloat16",
        "hidden_size": width,
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": value("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": value("attention.head_count_kv", heads),
        "head_dim": value("attention.key_length", width // heads),
        "hidden_act": "silu",
        "max_position_embeddings": value("context_length"),
        "rms_norm_eps": float(f"{value('attention.layer_norm_rms_epsilon'):.6g}"),  # 1e-05 is 9.99999974e-06 in F32
        "rope_parameters": _rope(value, tensors),
        "tie_word_embeddings": "output.weight" not in tensors,
        "vocab_size": int(tensors["token_embd.weight"].shape[1]),
        "use_cache": True,
    }
    ids = gguf_tokenizer.special_ids(metadata)
    config |= {f"{role}_token_id": ids[role] for role in ("bos", "eos", "pad") if role in ids}
    return config | ({} if kind == "qwen2" else {"attention_bias": bias})


def _rope(value: Callable[..., Any], tensors: dict[str, Any]) -> dict[str, Any]:
    """Returns the rotary settings; raises `ConfigError` for a scaling other than linear or Llama 3.1's."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(value("rope.freq_base", 10000.0))}
    scaling = value("rope.scaling.type", "none")
    if scaling == "linear":
        return rope | {"rope_type": "linear", "factor": float(value("rope.scaling.factor"))}
    if scaling != "none":
        raise ConfigError(f"its rotary scaling is {scaling}; none, linear and Llama 3.1's can be read")
    if "rope_freqs.weight" not in tensors:
        return rope
    return _llama3(rope, tensors["rope_freqs.weight"].data)


def _llama3(rope: dict[str, Any], factors: Any) -> dict[str, Any]:
    """Returns Llama 3.1's settings that divide the rotary frequencies by these factors, which are all the file holds.

    Its limits, 1 and 4 turns in the original context, are taken as given: the same factors with others mean another
    original context. Raises `ConfigError` for factors that no such settings make.
    """
    import numpy as np
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    width, most = 2 * len(factors), float(factors.max())
    plain = rope["rope_theta"] ** -(np.arange(0, width, 2) / width)
    between = (factors > 1) & (factors < most)
    turns = 1 + 3 * (1 / factors - 1 / most) / (1 - 1 / most)
    original = np.median((turns * 2 * np.pi / plain)[between]) if between.any() else 8192
    limits = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": round(original)}
    rope = rope | {"rope_type": "llama3", "factor": most, **limits}
    config = LlamaConfig(hidden_size=width, num_attention_heads=1, head_dim=width, rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    if not np.allclose(plain / scaled.numpy(), factors, rtol=1e-3):
        raise ConfigError("its rotary frequencies are not scaled as Llama 3.1's")
    return rope


def _weights(config: dict[str, Any], kind: str, tensors: dict[str, Any], folder: Path) -> None:
    """Writes every tensor that the architecture has; raises `ConfigError` where the file has other ones."""
    import gguf

    arch = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == kind)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    left, writer = set(tensors) - {"rope_freqs.weight"}, Shards(folder)
    for name, shape in _shapes(config).items():
        theirs = str(names.get_name(name, try_suffixes=(".weight", ".bias")))
        if theirs not in left:
            raise ConfigError(f"{name} is missing in the file")
        left.remove(theirs)
        stem = theirs.split(".")[-2]
        heads = config[_PERMUTED[stem]] if kind == "llama" and stem in _PERMUTED else None
        writer.add(name, _tensor(tensors[theirs], shape, heads))
    if left:
        raise ConfigError(f"it holds {min(left)}, which a {config['architectures'][0]} does not have")
    writer.close()


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the architecture's tensors; what is tied is named once."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        settings = AutoConfig.for_model(**config)
        model = AutoModelForCausalLM.from_config(settings)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _tensor(tensor: Any, shape: tuple[int, ...], heads: int | None) -> torch.Tensor:
    """Returns a tensor of the file in Hugging Face's order."""
    import gguf
    import torch

    kind = tensor.tensor_type
    try:
        weights = torch.from_numpy(gguf.dequantize(tensor.data, kind).copy())
    except NotImplementedError as error:
        raise ConfigError(f"{tensor.name} is quantised as {kind.name}, which cannot be read") from error
    if tuple(weights.shape) != shape:
        raise ConfigError(f"{tensor.name} has the shape {tuple(weights.shape)}, and {shape} is wanted")
    if heads is not None:
        weights = _halves(weights, heads)
    weights = weights.to({"F32": torch.float32, "BF16": torch.bfloat16}.get(kind.name, torch.float16))
    if not torch.isfinite(weights).all():
        raise ConfigError(f"{tensor.name} holds NaN or numbers beyond the range of F16")
    return weights


def _halves(weights: torch.Tensor, heads: int) -> torch.Tensor:
    """Puts rotary pairs, neighbours in llama.cpp's Llama, into the halves of each head."""
    rows = weights.shape[0] // heads // 2
    return weights.reshape(heads, rows, 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def _generation(metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns `generation_config.json`: the tokens that end an answer, and no way of sampling."""
    ids = gguf_tokenizer.special_ids(metadata)
    ends = sorted({ids.get("eos"), metadata.get("tokenizer.ggml.eot_token_id")} - {None})  # type: ignore[type-var]
    named = {f"{role}_token_id": ids[role] for role in ("bos", "pad") if role in ids}
    return {**named, "eos_token_id": ends[0] if len(ends) == 1 else ends}


def _card(file: Path, metadata: dict[str, Any]) -> str:
    """Returns the card: licence, name and origin."""
    licence, name = metadata.get("general.license", "other"), metadata.get("general.name", file.stem)
    return (
        f"---\nlicense: {licence}\nlibrary_name: transformers\n---\n\n# {name}\n\nMade by solotune from "
        f"`{file.name}` (SHA-256 {sha256(file)}): weights dequantised, tokenizer and template as in the file.\n"
    )
