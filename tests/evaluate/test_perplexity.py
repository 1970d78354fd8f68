"""The bytes of bits per byte: those of the text that was scored, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.evaluate import comparison
from pipeline.evaluate.perplexity import answer_bytes, score_all
from pipeline.models.load import Base
from pipeline.models.template import encode, encode_batch
from tests.small_model import make_tokenizer

ANSWER = "The page shows </s> after the price: 20 € für Köln, and <|end|> too."


def size(tokenizer: Any, answer: str, length: int = 500, kind: str = "qa") -> int:
    return answer_bytes(tokenizer, [encode(tokenizer, "Why?", answer, length, kind)])[0]


@pytest.mark.parametrize("answer", ["fee", ANSWER, "", "</s>", "<|user|>\n"])
def test_a_whole_answer_has_its_own_bytes(tokenizer: Any, answer: str) -> None:
    assert size(tokenizer, answer) == len(answer.encode())


def test_of_a_cut_answer_the_bytes_before_the_cut_count(tokenizer: Any) -> None:
    for length in range(10, 60):
        row = encode(tokenizer, "Why?", ANSWER, length)
        text = tokenizer.decode([label for label in row.labels if label != -100])
        assert row.truncated
        assert answer_bytes(tokenizer, [row]) == [len(text.rstrip("\ufffd").encode())]
        assert ANSWER.startswith(text.rstrip("\ufffd"))
    assert answer_bytes(tokenizer, [encode(tokenizer, "Why? " * 40, ANSWER, 20)]) == [0]


def test_a_document_counts_all_but_its_first_token() -> None:
    tokenizer = make_tokenizer()
    row = encode(tokenizer, "Fees", ANSWER, 500, "document")
    whole = f"Fees\n\n{ANSWER}"
    first = tokenizer.decode(row.input_ids[:1])
    assert answer_bytes(tokenizer, [row]) == [len(whole.encode()) - len(first.encode())]


def test_bits_per_byte_of_whole_cut_and_quoting_rows_by_a_plain_loop(tiny: Path, make_project: Any) -> None:
    model, tokenizer = Base.of(make_project()).load()
    rows = encode_batch(tokenizer, ["card", "Why?", "fee"], ["limit", ANSWER, ANSWER], 30, ["qa", "qa", "document"])
    assert [row.truncated for row in rows] == [False, True, True]
    nats, count = 0.0, 0
    for row in rows:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0].double()
        for place, label in enumerate(row.labels):
            if label != -100:
                nats -= float(logits[place - 1].log_softmax(-1)[label])
                count += 1
    text = len("limit") + sum(
        len(tokenizer.decode([label for label in row.labels if label != -100]).rstrip("\ufffd").encode())
        for row in rows[1:]
    )
    scored = score_all(model, rows, tokenizer.pad_token_id)
    found = comparison.scores(comparison.of_losses(scored, scored, answer_bytes(tokenizer, rows)))["base"]
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / text, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-5)
