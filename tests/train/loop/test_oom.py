"""The levels: more layers recomputed first, then smaller pieces; pieces are cut between examples and lose nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import MemoryShortError
from pipeline.train.data import pack
from pipeline.train.kernels import loss
from pipeline.train.loop import trainer
from pipeline.train.loop.oom import OomFallback, memory_errors


def row(lengths: list[int]) -> dict[str, Any]:
    total = sum(lengths)
    columns = {
        "input_ids": [np.arange(total, dtype=np.int32)],
        "labels": [np.concatenate([[-100, *range(1, length)] for length in lengths]).astype(np.int32)],
        "seq_lengths": [np.array(lengths, np.int32)],
    }
    return trainer.PackedRows(pack.pa.table(columns, schema=pack.PACKED), np.arange(1))[0]


def test_layers_come_before_tokens() -> None:
    counts: list[int] = []
    fallback = OomFallback(layers=10, recomputed=2, tokens=64, recompute=counts.append)
    said = []
    while (change := fallback.down()) is not None:
        said.append(change)
    assert counts == [5, 8, 10]
    assert said[0] == "5 layers are recomputed"
    assert said[-1] == "pieces of 4 tokens at a time"
    assert [level[1] for level in fallback.levels] == [64, 64, 64, 64, 32, 16, 8, 4]


def test_a_resumed_ladder_recomputes_at_once() -> None:
    counts: list[int] = []
    before = OomFallback(layers=4, recomputed=0, tokens=64, recompute=counts.append)
    assert before.reached() is None
    while before.reached() != (4, 32):
        assert before.down()
    counts.clear()
    OomFallback(layers=4, recomputed=0, tokens=64, recompute=counts.append).resume(4, 32)
    assert counts == [4]
    other = OomFallback(layers=4, recomputed=4, tokens=64, recompute=counts.append)  # recomputes all at first
    other.resume(4, 32)
    assert other.reached() == (4, 32)
    assert counts == [4]


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
def test_the_pieces_are_the_row(level: int) -> None:
    lengths = [3, 9, 1, 20, 2, 2, 27]
    whole = row(lengths)
    fallback = OomFallback(layers=0, recomputed=0, tokens=64, recompute=lambda _: None)
    fallback.at(level)
    pieces = list(fallback.pieces(whole))
    for name in ("input_ids", "labels", "position_ids"):
        assert torch.equal(torch.cat([piece[name] for piece in pieces], dim=1), whole[name])
    assert [length for piece in pieces for length in piece["cu_seq_lens_q"].diff().tolist()] == lengths
    for piece in pieces:
        parts = piece["cu_seq_lens_q"].diff().tolist()
        assert piece["cu_seq_lens_q"].dtype == torch.int32
        assert piece["max_length_q"] == max(parts)
        assert torch.equal(piece["answers"], loss.answers(piece["labels"][0]))
        assert len(parts) == 1 or sum(parts) <= 64 >> level
    assert len(pieces) == [1, 3, 4, 6, 6][level]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError(), "machine"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "machine"),
        (torch.OutOfMemoryError("CUDA out of memory"), "GPU"),
    ],
)
def test_memory_that_ran_out_is_a_sentence(error: Exception, word: str) -> None:
    with pytest.raises(MemoryShortError, match=f"the {word} has not enough memory"), memory_errors():
        raise error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_errors():
        raise RuntimeError("shapes do not match")
