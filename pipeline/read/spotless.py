"""Which texts need no cleaning, found for a whole block of them at once: most have no tag, no quote, no signature.

Output contract: `clean_all` returns what cleaning each text by itself would, in order. A text without any sign of a
kind of cleaning (`MARKUP`, `ANSWER`, `MESSAGE`) is one that it does not change; only the others go through Python code.
This module does not clean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.read.clean import FOOTER_SIGNS, QUOTE_SIGNS, SIGNATURE_SIGNS

LINE = r"(?:\A|\n)[\s\v\p{Z}\x{1c}-\x{1f}\x{85}]*"  # the start of a line and white space
STARTS = {">": ">", "from:": r"\**from:", "von:": r"\**von:"}  # a quote has these where a line begins


def _signs(signs: Iterable[str]) -> str:
    found = [r"[\r<&]|[ \t]\n|\n\n\n"]  # tags, entities, and white space that `tidy` takes out
    for sign in signs:
        if sign in STARTS:
            found.append(LINE + STARTS[sign])
        else:
            found.append(rf"(?:\A|\n){re.escape(sign[1:])}" if sign.startswith("\n") else re.escape(sign))
    return "(?i)" + "|".join(found)


MARKUP = _signs(())  # of `plain`
ANSWER = _signs((*QUOTE_SIGNS, *FOOTER_SIGNS))  # of `plain` and `answer_words`
MESSAGE = _signs((*QUOTE_SIGNS, *SIGNATURE_SIGNS, *FOOTER_SIGNS))  # of `plain` and `own_words`


def clean_all(texts: Sequence[str], clean: Callable[[str], str], signs: str) -> list[str]:
    """Returns `clean(text)` for each text, which changes none without one of `signs`. Texts are valid Unicode."""
    texts = [text.strip() for text in texts]
    found = pc.match_substring_regex(pa.array(texts, pa.large_string()), signs).to_pylist()
    return [clean(text) if sign else text for text, sign in zip(texts, found, strict=True)]
