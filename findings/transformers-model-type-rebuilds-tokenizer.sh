#!/usr/bin/env bash
# AutoTokenizer replaces a tokenizer's normaliser and pre-tokeniser when the model beside it is a Qwen2.
#
# Version: transformers 5.23.0, tokenizers 0.23.3
# Seen:    `tokenizer.json` says "lower-case, then Metaspace", `tokenizer_config.json` names the generic class. Alone,
#          and beside a `config.json` of model_type llama, gpt2 or bert, "Hi Hi" is [8, 8]. With `{"model_type":
#          "qwen2"}` beside it AutoTokenizer returns a Qwen2Tokenizer with NFC and byte-level rules: [4, 5, 4, 5]. No
#          warning.
# Matters: a model of the Qwen2 architecture trained from scratch with a tokenizer of its own gets other ids once
#          AutoTokenizer loads what `save_pretrained` wrote. `PreTrainedTokenizerFast.from_pretrained` keeps the
#          file's rules.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . transformers==5.23.0 tokenizers==0.23.3

python3 - <<'PYTHON'
import json
import logging
import sys
import tempfile
from pathlib import Path

logging.disable(logging.WARNING)  # that there is no torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, __version__

vocabulary = {token: index for index, token in enumerate(["<unk>", "<s>", "</s>", "h", "H", "i", "▁", "hi", "▁hi"])}
rules = Tokenizer(models.BPE(vocabulary, [("h", "i"), ("▁", "hi")], unk_token="<unk>"))
rules.normalizer, rules.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Metaspace()
saved = PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def ids(model_type, loader=AutoTokenizer):
    with tempfile.TemporaryDirectory() as folder:
        saved.save_pretrained(folder)
        Path(folder, "config.json").write_text(json.dumps({"model_type": model_type}))
        tokenizer = loader.from_pretrained(folder)
    tokens = tokenizer("Hi Hi").input_ids
    print(f"transformers {__version__}, {model_type}, {loader.__name__}: {type(tokenizer).__name__} {tokens}")
    return tokens


as_described = all(ids(kind) == [8, 8] for kind in ("llama", "gpt2", "bert"))
as_described &= ids("qwen2") == [4, 5, 4, 5] and ids("qwen2", PreTrainedTokenizerFast) == [8, 8]
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
