"""Golden rows of several exchanges: every answer is measured, and the row counts once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.evaluate import comparison, heldout
from pipeline.evaluate.perplexity import TokenScores, answer_bytes
from pipeline.export import gguf
from pipeline.models import template
from pipeline.models.conversation import encode_rows
from tests.small_model import TEMPLATE, make_tokenizer

REWRITES = TEMPLATE.replace(
    "{{ m['content'] }}", "{{ '' if m['role'] == 'user' or loop.last else 'so: ' }}{{ m['content'] }}"
)
ROWS = [
    {"prompt": "card", "response": "limit", "later": [], "kind": "qa"},
    {"prompt": "card", "response": "limit é", "later": ["fee?", "</s> 12 €", "app?", "code"], "kind": "qa"},
    {"prompt": "Fees", "response": "A fee.", "later": [], "kind": "document"},
]


@pytest.mark.parametrize(("source", "starts"), [(TEMPLATE, [0, 1, 2]), (REWRITES, [0, 1, 4])])
def test_every_answer_is_held_out_and_its_bytes_count(source: str, starts: list[int], make_project: Any) -> None:
    tokenizer = make_tokenizer(source)
    held = heldout.encode(make_project(), tokenizer, ROWS)
    assert held.starts == starts
    sizes = np.add.reduceat(answer_bytes(tokenizer, held.examples), held.starts).tolist()
    first = tokenizer.decode(held.examples[-1].input_ids[:1])  # nothing predicts it
    assert sizes == [len("limit"), len("limit é</s> 12 €code".encode()), len("Fees\n\nA fee.") - len(first)]


def test_examples_of_a_row_are_one_row_of_statistics() -> None:
    def scored(*nats: float) -> TokenScores:
        return TokenScores(np.array(nats), np.zeros(len(nats), int))

    examples = [scored(1.0), scored(2.0, 3.0), scored(4.0), scored()]
    perplexity, bits = comparison.of_losses(examples, examples, [3, 5, 7, 0], starts=[0, 1, 3])
    assert perplexity.base.tolist() == [[1, 1], [9, 3], [0, 0]]
    assert bits.base.tolist() == [[1, 3], [9, 12], [0, 0]]
    alone, _ = comparison.of_losses(examples, examples, [3, 5, 7, 0])
    assert alone.base.tolist() == [[1, 1], [5, 2], [4, 1], [0, 0]]


def test_a_gguf_file_is_measured_on_the_answers_alone() -> None:
    class Runtime:
        def losses(self, ids: list[int], first: int) -> Any:
            return np.arange(first, len(ids), dtype=float)  # the loss of a token is its place

    tokenizer, runtime = make_tokenizer(), Runtime()
    ((row,),) = encode_rows(tokenizer, [["card", "limit", "fee?", "12", "app?", "code"]], 200)
    places = [place for place, label in enumerate(row.labels) if label != template.IGNORED]
    assert max(np.diff(places)) > 1
    empty = template.encode(tokenizer, "card " * 50, "limit", 20)
    mean = sum(places) / len(places)
    assert gguf._perplexity(runtime, [row, empty]) == pytest.approx(np.exp(mean))  # type: ignore[arg-type]
