"""Writes a Llama folder of transformers as a GGUF file, for tests: float32, byte-level BPE, one file.

It knows just what `assets/tiny-base` and the tests' random model need; exports for users are not made with it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def interleaved(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Returns a query or key matrix with the rotary halves of each head interleaved, as llama.cpp reads them."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write(folder: Path, file: Path) -> None:
    from gguf import GGUFWriter, TokenType
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    writer = GGUFWriter(str(file), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_rope_freq_base(config.get("rope_parameters", {}).get("rope_theta", 10000.0))
    writer.add_vocab_size(config["vocab_size"])
    added = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    tokens = {identity: token for token, identity in tokenizer["model"]["vocab"].items()} | added
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([tokens[identity] for identity in range(config["vocab_size"])])
    kinds = [TokenType.CONTROL if identity in added else TokenType.NORMAL for identity in range(config["vocab_size"])]
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)
    for name, tensor in load_file(folder / "model.safetensors").items():
        weight = tensor.float().numpy()
        parts = name.removesuffix(".weight").split(".")
        if parts[1] == "layers":
            kind = ".".join(parts[3:])
            weight = interleaved(weight, heads) if "q_proj" in kind else weight
            weight = interleaved(weight, groups) if "k_proj" in kind else weight
            writer.add_tensor(f"blk.{parts[2]}.{NAMES[kind]}.weight", np.ascontiguousarray(weight))
        else:
            writer.add_tensor(f"{NAMES['.'.join(parts)]}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
