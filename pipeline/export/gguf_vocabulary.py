"""A Hugging Face tokenizer as the vocabulary of a GGUF file.

Output contract: `write` puts into the file's metadata what llama.cpp needs to make the same token ids: tokens with
their types, merges and the name of the word splitter (byte-level BPE), or scores (SentencePiece BPE), the special
tokens and the chat template. `sample` writes a file with that and the smallest model there can be, for llama.cpp to
load before there are weights. `tokenizer.json` alone is read: it is what training used. A tokenizer that llama.cpp has
no equal for is a `ConfigError`.
This module does not prove that the ids are equal: `gguf` compares them.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.models.gguf_tokenizer import SPLITTERS
from pipeline.models.template import stop_token, template_text

_WIDTH = 32  # of a sample's layer
_NEVER = -1e9  # score of a token that no merge makes


def write(writer: Any, folder: Path, tokenizer: Any, size: int, chat_template: str) -> None:
    """Adds the tokenizer of a model folder to a `gguf.GGUFWriter`; `size` is the number of the model's embeddings.

    Raises `ConfigError` for a kind of tokenizer or a word splitter that llama.cpp is not known to have.
    """
    rules = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model = rules["model"]
    if model["type"] != "BPE":
        raise ConfigError(
            f"export.gguf: {folder.name} has a {model['type']} tokenizer; BPE and SentencePiece BPE are known"
        )
    _check_normaliser(rules, folder)
    texts, types = _tokens(rules, size)
    if model.get("byte_fallback"):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(texts)
        writer.add_token_scores(_scores(model, texts))
        writer.add_add_space_prefix(_prefixes_every_part(rules))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_splitter(rules, folder))
        writer.add_token_list(texts)
        writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]])
    writer.add_token_types(types)
    _specials(writer, tokenizer)
    writer.add_chat_template(chat_template)


def sample(target: Path, folder: Path, tokenizer: Any, size: int) -> None:
    """Writes a file with a model folder's vocabulary and template, and a model of zeros, one layer, 32 wide."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(target, "llama")
    for name in ("embedding_length", "feed_forward_length", "rope_dimension_count"):
        getattr(writer, f"add_{name}")(_WIDTH)
    for name in ("block_count", "head_count"):
        getattr(writer, f"add_{name}")(1)
    writer.add_context_length(512)
    writer.add_layer_norm_rms_eps(1e-5)
    write(writer, folder, tokenizer, size, template_text(tokenizer))
    writer.add_tensor("token_embd.weight", np.zeros((size, _WIDTH), np.float16))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((_WIDTH, _WIDTH), np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.zeros(_WIDTH, np.float32))
    with contextlib.closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


def _check_normaliser(rules: dict[str, Any], folder: Path) -> None:
    """Byte-level BPE may compose characters (NFC), which llama.cpp leaves to the client; SentencePiece marks blanks."""
    outer = rules.get("normalizer") or {"type": "Sequence", "normalizers": []}
    steps = outer.get("normalizers", [outer])
    known = {"Prepend", "Replace"} if rules["model"].get("byte_fallback") else {"NFC"}
    other = [step["type"] for step in steps if step["type"] not in known]
    if other:
        raise ConfigError(f"export.gguf: {folder.name} changes texts in a way that llama.cpp does not: {other[0]}")


def _tokens(rules: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Returns each embedding's token and its type; an embedding that no token has is padding."""
    from gguf import TokenType

    model = rules["model"]
    texts = [f"[PAD{number}]" for number in range(size)]
    types = [TokenType.UNUSED] * size
    for text, number in model["vocab"].items():
        byte = model.get("byte_fallback") and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
        texts[number], types[number] = text, TokenType.BYTE if byte else TokenType.NORMAL
    for token in rules["added_tokens"]:
        special = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
        texts[token["id"]], types[token["id"]] = token["content"], special
    if model.get("unk_token") in model["vocab"]:
        types[model["vocab"][model["unk_token"]]] = TokenType.UNKNOWN
    return texts, [int(kind) for kind in types]


def _scores(model: dict[str, Any], texts: list[str]) -> list[float]:
    """Returns SentencePiece scores: the earlier a token's first merge, the higher. llama.cpp merges by them."""
    rank: dict[str, int] = {}
    for number, pair in enumerate(model["merges"]):
        rank.setdefault("".join(pair.split(" ") if isinstance(pair, str) else pair), number)
    return [-float(rank[text]) if text in rank else _NEVER for text in texts]


def _prefixes_every_part(rules: dict[str, Any]) -> bool:
    """Whether a blank is put before the text and after every special token, and not only before the first word."""
    steps = [rules.get("normalizer") or {}, rules.get("pre_tokenizer") or {}]
    steps += [step for outer in steps for step in (outer.get("normalizers") or outer.get("pretokenizers") or [])]
    return any(step.get("type") == "Prepend" or step.get("prepend_scheme") == "always" for step in steps)


def _splitter(rules: dict[str, Any], folder: Path) -> str:
    outer = rules.get("pre_tokenizer") or {}
    names: list[str] = []
    for step in outer.get("pretokenizers") or [outer]:
        match step:
            case {"type": "Split", "pattern": {"Regex": regex}}:
                names.append(regex)
            case {"type": "Digits", "individual_digits": True}:
                names.append("digits")
            case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use}:
                names += ["gpt2"] if use else []
            case _:
                names.append(json.dumps(step))
    splitter = (tuple(names), bool(rules["model"].get("ignore_merges")))
    name = next((name for name, known in SPLITTERS.items() if known == splitter), None)
    if name is None:
        raise ConfigError(
            f"export.gguf: {folder.name} splits words in a way that llama.cpp is not known to have: {names}"
        )
    return name


def _specials(writer: Any, tokenizer: Any) -> None:
    """The template alone decides about BOS, as in training: nothing is added by the tokenizer."""
    for name in ("bos", "eos", "unk", "pad"):
        number = getattr(tokenizer, f"{name}_token_id")
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    stop = stop_token(tokenizer).id
    if stop != tokenizer.eos_token_id:
        writer.add_eot_token_id(stop)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
