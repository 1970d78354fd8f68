"""The vocabulary of a GGUF file as a Hugging Face tokenizer.

Output contract: `write` puts `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` into a folder.
Byte-level BPE gets the word splitter that the file names, SentencePiece BPE its merges from the scores. What is not
known to give llama.cpp's token ids is a `ConfigError`, never a near miss: transformers 5.23 reads the splitter
`smollm` as `gpt-2`.
This module reads no weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_THREES = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
# llama.cpp's name (`tokenizer.ggml.pre`) -> what cuts a text into words before byte-level BPE, and whether a word that
# is a token is taken as one whatever the merges make of it
SPLITTERS = {
    "gpt-2": (("gpt2",), False),
    "smollm": (("digits", "gpt2"), False),
    "llama-bpe": ((_THREES,), True),
    "dbrx": ((_THREES,), False),
    "qwen2": ((rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}",), False),
    "qwen35": (
        (
            rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
            r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        False,
    ),
}
# not here: tekken and gpt-4o, whose marks and capitals beyond A to Z llama.cpp cuts elsewhere (ggml 0.12)
_UNKNOWN, _CONTROL, _USER, _UNUSED = 2, 3, 4, 5  # `gguf.TokenType`
_BLANK = "\u2581"


def write(metadata: dict[str, Any], folder: Path) -> None:
    """Writes the tokenizer of a file's metadata; raises `ConfigError` for one that cannot be read back."""
    kind = metadata.get("tokenizer.ggml.model")
    texts, types = metadata.get("tokenizer.ggml.tokens") or [], metadata.get("tokenizer.ggml.token_type") or []
    if kind not in {"gpt2", "llama"} or len(texts) != len(types):
        raise ConfigError(f"its tokenizer is {kind}; gpt2 (byte-level BPE) and llama (SentencePiece BPE) can be read")
    vocabulary = {text: number for number, text in enumerate(texts) if types[number] != _UNUSED}
    rules = _byte_level(metadata, vocabulary) if kind == "gpt2" else _sentencepiece(metadata, texts, vocabulary)
    added = [number for number in vocabulary.values() if types[number] in {_CONTROL, _USER, _UNKNOWN}]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    rules["added_tokens"] = [{"id": n, "content": texts[n], **plain, "special": types[n] != _USER} for n in added]
    _put(folder / "tokenizer.json", {"version": "1.0", "truncation": None, "padding": None, **rules})
    names = {f"{role}_token": texts[number] for role, number in special_ids(metadata).items()}
    options = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    _put(folder / "tokenizer_config.json", {**options, **names})
    if template := metadata.get("tokenizer.chat_template"):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def special_ids(metadata: dict[str, Any]) -> dict[str, int]:
    """Returns the token ids that the file names, by role: bos, eos, unk, pad."""
    keys = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    found = {role: metadata.get(f"tokenizer.ggml.{key}_token_id") for role, key in keys.items()}
    return {role: int(number) for role, number in found.items() if number is not None}


def _put(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _byte_level(metadata: dict[str, Any], vocabulary: dict[str, int]) -> dict[str, Any]:
    named = metadata.get("tokenizer.ggml.pre")
    if named not in SPLITTERS:
        raise ConfigError(f"its words are split as '{named}'; {', '.join(SPLITTERS)} can be read")
    steps, whole = SPLITTERS[named]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": "gpt2" in steps}
    known = {"digits": {"type": "Digits", "individual_digits": True}, "gpt2": byte_level}
    split = [
        known.get(step) or {"type": "Split", "pattern": {"Regex": step}, "behavior": "Isolated", "invert": False}
        for step in steps
    ]
    if "gpt2" not in steps:
        split.append(byte_level)
    merges = [pair.split(" ") for pair in metadata["tokenizer.ggml.merges"]]
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": split},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": _bpe(vocabulary, merges, None, byte_fallback=False) | {"ignore_merges": whole},
    }


def _sentencepiece(metadata: dict[str, Any], texts: list[str], vocabulary: dict[str, int]) -> dict[str, Any]:
    """A blank before the text and after every special token, where the file asks for one."""
    prefixed = metadata.get("tokenizer.ggml.add_space_prefix", True)
    blanks: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": " "}, "content": _BLANK}]
    if prefixed:
        blanks.insert(0, {"type": "Prepend", "prepend": _BLANK})
    replace = {"type": "Replace", "pattern": {"String": _BLANK}, "content": " "}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefixed else []
    merges = _merges(metadata["tokenizer.ggml.scores"], texts, vocabulary)
    unknown = special_ids(metadata).get("unk")
    return {
        "normalizer": {"type": "Sequence", "normalizers": blanks},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [replace, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
        "model": _bpe(vocabulary, merges, None if unknown is None else texts[unknown], byte_fallback=True),
    }


def _bpe(
    vocabulary: dict[str, int], merges: list[list[str]], unknown: str | None, byte_fallback: bool
) -> dict[str, Any]:
    """Returns the model of a `tokenizer.json`."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": byte_fallback,
        "byte_fallback": byte_fallback,
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": merges,
    }


def _merges(scores: list[float], texts: list[str], vocabulary: dict[str, int]) -> list[list[str]]:
    """Returns every pair of tokens that makes a third, in the order of the third's score: llama.cpp merges by it."""
    order = sorted(vocabulary.values(), key=lambda number: (-scores[number], number))
    return [
        [texts[number][:cut], texts[number][cut:]]
        for number in order
        for cut in range(1, len(texts[number]))
        if texts[number][:cut] in vocabulary and texts[number][cut:] in vocabulary
    ]
