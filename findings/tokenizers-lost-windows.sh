#!/usr/bin/env bash
# tokenizers 0.23.2 returns one or two windows of a text of any length.
#
# Version: tokenizers 0.23.2 (0.23.3 returns all of them)
# Seen:    100 tokens in windows of 10, each with [CLS] and [SEP], are 13 windows. `encode` returns two: `ids` and one
#          entry in `overflowing`, so 16 tokens of 100. Without a template that adds tokens it returns one of 10.
# Matters: a classifier that scores every window of a long text and takes the maximum never sees what stands behind
#          the second window. Nothing is raised or warned about; only the number of windows tells.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
for version in 0.23.2 0.23.3; do
    python3 -m pip install -qq --target "$version" "tokenizers==$version"
done

cat >windows.py <<'PYTHON'
import sys

from tokenizers import Tokenizer, __version__, models, pre_tokenizers, processors

vocabulary = {"[UNK]": 0, "word": 1, "[CLS]": 2, "[SEP]": 3}
tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.enable_truncation(10)
windows = [1 + len(tokenizer.encode("word " * 100).overflowing)]
tokenizer.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
windows.append(1 + len(tokenizer.encode("word " * 100).overflowing))
print(f"tokenizers {__version__}: windows of 100 tokens, without and with a template: {windows}")
sys.exit(windows != [int(number) for number in sys.argv[1:]])
PYTHON

if PYTHONPATH=0.23.2 python3 windows.py 1 2 && PYTHONPATH=0.23.3 python3 windows.py 10 13; then
    echo "as described"
else
    echo "changed"
    exit 1
fi
