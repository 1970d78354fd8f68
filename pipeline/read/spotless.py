"""Which texts need no cleaning, found for a whole block of them at once: most have no tag, no quote, no signature.

Output contract: `clean_all` returns what cleaning each text by itself would, in order. A text without any of `SIGNS` is
one that no function of `clean` or `markup` changes; only the others go through Python code.
This module does not clean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.read.clean import FOOTER_SIGNS, QUOTE_SIGNS, SIGNATURE_SIGNS


def _pattern(sign: str) -> str:
    return rf"(?:\A|\n){re.escape(sign[1:])}" if sign.startswith("\n") else re.escape(sign)


TIDY_SIGNS = r"[\r<&]|[ \t]\n|\n\n\n"  # tags, entities, and white space that `tidy` takes out
SIGNS = "(?i)" + "|".join([TIDY_SIGNS, *map(_pattern, (*QUOTE_SIGNS, *SIGNATURE_SIGNS, *FOOTER_SIGNS))])


def clean_all(texts: Sequence[str], clean: Callable[[str], str]) -> list[str]:
    """Returns `clean(text)` for each text; `clean` is made of the functions of `clean`. Texts are valid Unicode."""
    texts = [text.strip() for text in texts]
    found = pc.match_substring_regex(pa.array(texts, pa.large_string()), SIGNS).to_pylist()
    return [clean(text) if sign else text for text, sign in zip(texts, found, strict=True)]
