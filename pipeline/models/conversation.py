"""A row as training examples: a conversation with all its answers to learn from, each behind what serving asks it with.

Output contract: a row is its turns: question, answer, question, answer ... For each of its answers the token ids that
serving asks with, followed by the answer and its stop token, are the beginning of an example in which that answer is
supervised. That is one example for the whole row where the template only adds text from turn to turn. Where it does
not (Qwen3 leaves out an earlier answer's thinking, also an empty one), the row is several examples, which supervise
every answer once. Exchanges at the end that do not fit `max_length` whole are left out and counted; a first one is cut,
as any row of one exchange.
This module renders and tokenises nothing itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import ConfigError
from pipeline.models import template
from pipeline.models.template import Encoded

Turns = Sequence[str]
"""What customer and agent say by turns, at least one of each; of a document heading path and text."""


def encode_rows(
    tokenizer: Any, rows: Sequence[Turns], max_length: int, kinds: Sequence[str] | None = None
) -> list[list[Encoded]]:
    """Returns the examples of each row, at least one; rows are of kind qa unless said.

    The first example of a row says how many exchanges were left out. Raises `ConfigError` as `template.encode_batch`.
    """
    kinds = kinds or ["qa"] * len(rows)
    ends = [range(2, len(turns) + 1, 2) for turns in rows]
    parts = [(turns[:end], kind) for turns, kind, row in zip(rows, kinds, ends, strict=True) for end in row]
    asked, answered = ([turns[slot] for turns, _ in parts] for slot in (-2, -1))
    earlier = [turns[:-2] for turns, _ in parts]
    try:
        one = template.encode_batch(tokenizer, asked, answered, max_length, [kind for _, kind in parts], earlier)
    except ConfigError as error:
        if not any(earlier):
            raise
        raise ConfigError(f"{error}; or curate conversations as single questions and answers") from error
    encoded = iter(one)
    return [_examples(list(itertools.islice(encoded, len(row)))) for row in ends]


def _examples(exchanges: list[Encoded]) -> list[Encoded]:
    """Returns the examples of a row of which the nth of `exchanges` has the first n, the last one supervised."""
    whole = [exchanges[0], *itertools.takewhile(lambda part: not part.truncated, exchanges[1:])]
    if exchanges[0].truncated:
        whole = whole[:1]
    examples = whole[:1]
    for part in whole[1:]:
        before = examples[-1]
        if part.input_ids[: len(before.input_ids)] == before.input_ids:
            examples[-1] = replace(part, labels=before.labels + part.labels[len(before.labels) :])
        else:
            examples.append(part)
    return [replace(examples[0], dropped=len(exchanges) - len(whole)), *examples[1:]]
