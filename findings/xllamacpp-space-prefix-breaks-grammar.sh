#!/usr/bin/env bash
# A tokenizer that puts a space before a text breaks llama.cpp's llguidance grammars where only one continuation is
# left.
#
# Version: xllamacpp 2026.10.11549, gguf 0.19.0 (to write a model of random weights)
# Seen:    two files differ in `tokenizer.ggml.add_space_prefix` alone. Asked for `{"type": "boolean"}` with
#          temperature 0, the one without the prefix answers "false". The one with it answers "f", then a space and
#          raw text, with status 200; a warning about "forced bytes" goes to standard error. An array fails at its
#          bracket.
# Matters: the prefix is the default of SentencePiece models (Llama 2, Mistral 7B). Brackets, quotation marks and
#          names of properties are what a schema forces. A trial of one token sees nothing: the space before the brace
#          is white space to JSON.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . xllamacpp==2026.10.11549 gguf==0.19.0

cat >model.py <<'PYTHON'
"""Writes a LLaMA of random weights and one layer; tokens are bytes and printable ASCII, as SentencePiece has them."""

import sys

import gguf
import numpy as np

WIDTH, HIDDEN, HEADS = 64, 128, 2
PIECES = [chr(code) for code in range(33, 127)] + ["▁"]
TOKENS = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + PIECES
random = np.random.default_rng(0)
file = gguf.GGUFWriter("model.gguf", "llama")
file.add_context_length(256)
file.add_embedding_length(WIDTH)
file.add_block_count(1)
file.add_feed_forward_length(HIDDEN)
file.add_head_count(HEADS)
file.add_rope_dimension_count(WIDTH // HEADS)
file.add_layer_norm_rms_eps(1e-5)
file.add_vocab_size(len(TOKENS))
file.add_tokenizer_model("llama")
file.add_token_list(TOKENS)
file.add_token_scores([0.0] * len(TOKENS))
file.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(PIECES))
file.add_bos_token_id(1)
file.add_eos_token_id(2)
file.add_unk_token_id(0)
file.add_add_space_prefix(sys.argv[1] == "prefix")
shapes = {name: (len(TOKENS), WIDTH) for name in ("token_embd", "output")}
shapes |= {f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
shapes |= {"blk.0.ffn_gate": (HIDDEN, WIDTH), "blk.0.ffn_up": (HIDDEN, WIDTH), "blk.0.ffn_down": (WIDTH, HIDDEN)}
for name, shape in shapes.items():
    file.add_tensor(f"{name}.weight", random.normal(0, 0.5, shape).astype(np.float32))
for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
    file.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
file.write_header_to_file()
file.write_kv_data_to_file()
file.write_tensors_to_file()
file.close()
PYTHON

cat >ask.py <<'PYTHON'
import json
from urllib.request import ProxyHandler, Request, build_opener

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = "model.gguf", 256, 1
params.hostnames, params.port, params.ui, params.offline, params.verbosity = ["127.0.0.1"], 0, False, True, 0
server = xllamacpp.Server(params)


def ask(schema):
    body = {"prompt": "a", "n_predict": 12, "temperature": 0, "json_schema": schema}
    request = Request(f"{server.listening_address}/completion", json.dumps(body).encode())
    with build_opener(ProxyHandler({})).open(request, timeout=60) as response:
        text = json.load(response)["content"]
    print(f"xllamacpp {xllamacpp.__version__}, {json.dumps(schema)}: status {response.status}, {ascii(text)}")
    return text
PYTHON

cat >schemas.py <<'PYTHON'
import sys

from ask import ask

sound = ask({"type": "boolean"}) in ("true", "false")
sound &= ask({"type": "array", "items": {"type": "integer"}}).startswith("[")
sys.exit(sound != (sys.argv[1] == "sound"))
PYTHON

python3 model.py bare
if python3 schemas.py sound && python3 model.py prefix && python3 schemas.py broken; then
    echo "as described"
else
    echo "changed"
    exit 1
fi
