"""Perplexity on answer tokens.

Output contract: sums over the supervised tokens of the rows given, the same tokens that training learns from, so base,
adapter and merged model are compared on exactly the same ones. Rows are padded, not packed: the figure owes nothing to
the training loop's packing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

BATCH_TOKENS = 4096  # padded tokens per forward pass


def answer_loss(
    model: Any, tokenizer: Any, rows: Sequence[dict[str, Any]], max_length: int
) -> Iterator[tuple[float, int]]:
    """Yields, batch by batch, the summed negative log-likelihood (nats, float32 logits) and the supervised tokens in
    it."""
    import torch
    from torch.nn.functional import cross_entropy

    from pipeline.train.template import encode

    examples = [encode(tokenizer, row["prompt"], row["response"], max_length, row["kind"]) for row in rows]
    examples.sort(key=lambda example: -len(example.input_ids))
    while examples:
        width = len(examples[0].input_ids)
        batch, examples = examples[: max(1, BATCH_TOKENS // width)], examples[max(1, BATCH_TOKENS // width) :]
        ids = torch.tensor([list(e.input_ids) + [tokenizer.pad_token_id] * (width - len(e.input_ids)) for e in batch])
        mask = torch.tensor([[1] * len(e.input_ids) + [0] * (width - len(e.input_ids)) for e in batch])
        labels = torch.tensor([list(e.labels) + [-100] * (width - len(e.labels)) for e in batch])[:, 1:]
        with torch.inference_mode():
            logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits[:, :-1]
            wanted = (labels != -100).to(model.device)
            loss = cross_entropy(logits[wanted].float(), labels[labels != -100].to(model.device), reduction="sum")
        yield float(loss), int(wanted.sum())


def perplexity(parts: Sequence[tuple[float, int]]) -> float:
    """Returns exp(mean negative log-likelihood) over the parts that `answer_loss` yields; infinite when it
    overflows."""
    loss, tokens = sum(part[0] for part in parts), sum(part[1] for part in parts)
    return math.exp(min(loss / max(1, tokens), 700.0))
