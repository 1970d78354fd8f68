"""What a model makes of the supervised tokens of rows: perplexity, bits per byte, its own first choices.

Output contract: the tokens scored are the very ones that training learns from, so base, adapter, merged model and
quantised file are compared on the same ones. Rows are padded, not packed: the figures owe nothing to the training
loop's packing. Losses are negative log-likelihoods in nats from float32 logits. The bytes of bits per byte are those of
the text that the scored tokens spell: of a row that was cut, up to the cut.
This module does not load models and knows no threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pipeline.models.template import Encoded

BATCH_TOKENS = 4096  # padded tokens per forward pass


@dataclass(frozen=True)
class TokenScores:
    """One row's supervised tokens, in order: `losses` in nats, and `argmax`, the token the model would have chosen."""

    losses: np.ndarray[Any, np.dtype[np.float64]]
    argmax: np.ndarray[Any, np.dtype[np.int64]]


def score_tokens(model: Any, examples: Sequence[Encoded], pad: int) -> Iterator[dict[int, TokenScores]]:
    """Yields, batch by batch and longest rows first, what the model makes of each row, by its position in `examples`.

    A row without a supervised token (cut before its answer) has empty arrays.
    """
    import torch

    order = sorted(range(len(examples)), key=lambda index: (-len(examples[index].input_ids), index))
    while order:
        width = len(examples[order[0]].input_ids)
        count = max(1, BATCH_TOKENS // max(1, width))
        batch, order = order[:count], order[count:]
        rows = [examples[index] for index in batch]
        ids = torch.tensor([list(row.input_ids) + [pad] * (width - len(row.input_ids)) for row in rows])
        mask = torch.tensor([[1] * len(row.input_ids) + [0] * (width - len(row.input_ids)) for row in rows])
        labels = torch.tensor([list(row.labels) + [-100] * (width - len(row.labels)) for row in rows])[:, 1:]
        wanted = labels != -100
        with torch.inference_mode():
            logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits[:, :-1]
            chosen = logits[wanted.to(model.device)].float()
            losses = torch.nn.functional.cross_entropy(
                chosen, labels[wanted].to(model.device), reduction="none"
            ).double()
            argmax = chosen.argmax(-1)
        sizes = wanted.sum(1).tolist()
        parts = zip(batch, losses.cpu().split(sizes), argmax.cpu().split(sizes), strict=True)
        yield {index: TokenScores(loss.numpy(), top.numpy()) for index, loss, top in parts}


def score_all(model: Any, examples: Sequence[Encoded], pad: int) -> list[TokenScores]:
    """Returns what `score_tokens` yields, in the order of the examples."""
    scored: dict[int, TokenScores] = {}
    for part in score_tokens(model, examples, pad):
        scored.update(part)
    return [scored[index] for index in range(len(examples))]


def perplexity(nats: float, tokens: int) -> float:
    """Returns exp(mean negative log-likelihood); infinite when it overflows, 1 for no tokens."""
    mean = nats / max(1, tokens)
    return math.exp(mean) if mean < 700 else math.inf


def bits_per_byte(nats: float, utf8_bytes: int) -> float:
    """Returns bits per byte of the supervised text: unlike perplexity, comparable between tokenizers."""
    return nats / math.log(2) / max(1, utf8_bytes)


def answer_bytes(tokenizer: Any, examples: Sequence[Encoded]) -> list[int]:
    """Returns the UTF-8 bytes of the text that each row's scored tokens spell.

    The token that ends a whole answer is no text; any other is, even if it looks like one: a customer may quote `</s>`.
    """
    return [len(_text(tokenizer, row).encode()) for row in examples]


def _text(tokenizer: Any, row: Encoded) -> str:
    answers = [[*run] for scored, run in groupby(row.labels, lambda label: label != -100) if scored]
    parts = answers if row.truncated else [answer[:-1] for answer in answers]
    text = "".join(str(tokenizer.decode(part, clean_up_tokenization_spaces=False)) for part in parts)
    return text.rstrip("\ufffd") if row.truncated else text  # a cut may go through the bytes of a letter
