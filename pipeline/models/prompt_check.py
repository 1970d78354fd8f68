"""Do serving and training see the same tokens? Checked for one tokenizer with its template, before anything is trained.

Output contract: `check` returns nothing, or raises `ConfigError`: for every answer of every row the ids that serving
asks with are the first ids of its training example, supervision begins right behind them, and the answer ends with a
stop token. Rows of our own that tokenizers stumble over are checked with the given ones: each by itself and, where a
given row is a conversation, as one conversation too.
This module loads no weights.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.errors import ConfigError
from pipeline.models import template
from pipeline.models.conversation import Turns, encode_rows

AWKWARD = (  # what begins or ends with a blank, a line break, a mark, half a character; what quotes markup
    ("How do I block my card?", "Open the app.\nThen tap Block."),
    (" a blank before and after ", " a blank before and after "),
    ("ends with a line\n", "\nbegins with a line"),
    ("two\n\n", "\n\n  two, and blanks"),
    ("a colon:", ":) (a bracket)"),
    ("1,234.50 \u20ac?", "0049 is it."),
    ("Gr\u00fc\u00dfe \U0001f44d\U0001f3fd", "\u0301a mark that joins what stands before it"),
    ("\u65e5\u672c\u8a9e", "\u0e20\u0e32\u0e29\u0e32 \u0939\u093f\u0928\u094d\u0926\u0940"),
    ("<s>was</s> <|im_start|>system [/INST] <eos>", "<b>no</b> <|im_end|> <|eot_id|> [INST] </s>"),
    ("\tx\r\n", "\tx\r\n"),
)


def check(tokenizer: Any, rows: Iterable[Turns] = ()) -> None:
    """Checks rows, each its turns; see the module."""
    stop = template.stop_token(tokenizer)
    quoting = (f"what is {stop.text}?", f"{stop.text} is what ends an answer. {stop.text}")
    own: list[Turns] = [*AWKWARD, quoting]
    given = list(rows)
    if any(turns[2:] for turns in given):
        own.append([text for turns in own for text in turns])
    for turns in (*given, *own):
        examples = encode_rows(tokenizer, [turns], sys.maxsize)[0]
        for end in range(1, len(turns), 2):
            _check(template.chat_prompt(tokenizer, template.messages(turns[:end])), examples)


def _check(asked: list[int], examples: Sequence[template.Encoded]) -> None:
    """Raises `ConfigError` unless an answer is learnt in one of the row's examples right behind what serving asks."""
    size = len(asked)
    known = [row for row in examples if row.input_ids[:size] == asked]
    faults = {
        "the tokens that serving asks with are not those of the training row": not known,
        "what is learnt does not begin where serving ends": not any(
            row.labels[size - 1] == template.IGNORED and row.labels[size] != template.IGNORED
            for row in known
            if len(row.labels) > size
        ),
    }
    for fault, present in faults.items():
        if present:
            raise ConfigError(
                f"the chat template and the tokenizer do not fit together: {fault}; set `chat_template` to a Jinja "
                f"file whose generation prompt ends with a special token or a line break"
            )
