#!/usr/bin/env bash
# A pad token that the vocabulary lacks is the unknown token in memory and a new token after save and load.
#
# Version: transformers 5.23.0, tokenizers 0.23.3
# Seen:    `tokenizer.pad_token = "<pad>"` on a vocabulary of five tokens without `<pad>` raises nothing:
#          `pad_token_id` is 0, the id of `<unk>`, and `len(tokenizer)` stays 5. After `save_pretrained` and
#          `from_pretrained`, `pad_token_id` is 5 and `len(tokenizer)` is 6.
# Matters: a model trained with the first tokenizer has five embeddings; with the saved one, every padded batch reads
#          behind the last row. Tokenizers of the Llama 2 kind (`<unk>`, no pad token) have this shape, so
#          `convert_tokens_to_ids("<pad>") is not None` does not show that a token exists; `get_vocab()` does.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . transformers==5.23.0 tokenizers==0.23.3

python3 - <<'PYTHON'
import logging
import sys
import tempfile

logging.disable(logging.WARNING)  # that there is no torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, __version__

words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "good": 3, "day": 4}, unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
tokenizer.pad_token = "<pad>"
in_memory = (tokenizer.pad_token_id, len(tokenizer))
with tempfile.TemporaryDirectory() as folder:
    tokenizer.save_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
after_loading = (loaded.pad_token_id, len(loaded))
print(f"transformers {__version__}: (pad_token_id, len) in memory {in_memory}, after save and load {after_loading}")
as_described = in_memory == (0, 5) and after_loading == (5, 6)
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
