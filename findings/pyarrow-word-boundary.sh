#!/usr/bin/env bash
# In pyarrow's regular expressions every umlaut is a word boundary, although letter case is Unicode's.
#
# Version: pyarrow 26.0.1
# Seen:    marking words with `\b(\w+)\b` turns "Größe" into "<Gr>öß<e>", and `\bbung` matches inside "Übung". `(?i)ü`
#          matches "Ü" all the same, so the engine does know the letters. Python's `re` gives "<Größe>" and no match.
# Matters: a pattern moved from `re` to `pyarrow.compute` for speed finds words inside words in German, French or
#          Polish text and misses others. `(^|[^\pL\pN_])` says what `\b` says in Python.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . pyarrow==26.0.1

python3 - <<'PYTHON'
import re
import sys

import pyarrow as pa
import pyarrow.compute as pc

WORDS, INSIDE = r"\b(\w+)\b", r"\bbung"
marked = pc.replace_substring_regex(pa.scalar("Größe"), WORDS, r"<\1>").as_py()
inside = pc.match_substring_regex(pa.scalar("Übung"), INSIDE).as_py()
case = pc.match_substring_regex(pa.scalar("Übung"), r"(?i)ü").as_py()
mended = pc.match_substring_regex(pa.scalar("Übung"), r"(^|[^\pL\pN_])bung").as_py()
print(f"pyarrow {pa.__version__}: {marked!r}, inside a word: {inside}, case: {case}, without \\b: {mended}")
python = (re.sub(WORDS, r"<\1>", "Größe"), re.search(INSIDE, "Übung"))
print(f"re: {python[0]!r}, inside a word: {python[1] is not None}")
as_described = (marked, inside, case, mended) == ("<Gr>öß<e>", True, True, False) and python == ("<Größe>", None)
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
