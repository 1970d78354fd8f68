#!/usr/bin/env bash
# sacrebleu's Chinese tokenizer takes the euro sign, curly quotes and dashes for Chinese characters.
#
# Version: sacrebleu 2.6.0
# Seen:    the table of `tokenizer_zh` writes the ideographs beyond U+FFFF as four-digit escapes followed by a further
#          digit, so a range meant from U+20000 begins at U+2000: general punctuation, currency signs, arrows and
#          letter-like signs count as Chinese and stand alone. `tokenize="13a"` keeps "5€" as one token, "zh" makes two
#          of it, of English text too.
# Matters: BLEU of mixed texts depends on which tokenizer a row gets, and an ideograph that is really beyond U+FFFF is
#          not told apart from its neighbour.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . sacrebleu==2.6.0

python3 - <<'PYTHON'
import sys

import sacrebleu
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

text = "a fee of 5€ or 5$, “now” – 𠀀𠀁 好吗"
chinese, plain = TokenizerZh()(text).split(), Tokenizer13a()(text).split()
print("sacrebleu", sacrebleu.__version__)
print("zh ", chinese)
print("13a", plain)
as_described = {"€", "“", "–"} <= set(chinese) and "5€" in plain and "𠀀𠀁" in chinese
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
