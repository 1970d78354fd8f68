"""Every architecture on the list: examples side by side are computed as if each were alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.train.data import pack
from pipeline.train.kernels import packed_attention
from pipeline.train.loop import trainer
from tests.train import tiny_models

LENGTHS = (9, 1, 17, 5)
"""Longer and shorter than the window of the sliding layers."""
PACKED = [name for name in tiny_models.MODELS if not name.startswith("qwen3_5")]


@pytest.fixture(autouse=True)
def implementation() -> str:
    return packed_attention.register()


def row_of(sequences: list[torch.Tensor]) -> dict[str, Any]:
    """The sequences as one packed row; the first token of each is unsupervised."""
    ids = [sequence.numpy().astype(np.int32) for sequence in sequences]
    labels = [np.concatenate([[-100], tokens[1:]]).astype(np.int32) for tokens in ids]
    columns = {
        "input_ids": [np.concatenate(ids)],
        "labels": [np.concatenate(labels)],
        "seq_lengths": [np.array([len(tokens) for tokens in ids], np.int32)],
    }
    return trainer.PackedRows(pa.table(columns, schema=pack.PACKED), np.arange(1))[0]


@pytest.mark.parametrize("name", PACKED)
def test_packed_rows_do_not_see_each_other(name: str) -> None:
    sequences = tiny_models.sequences(*LENGTHS)
    plain, ours = tiny_models.make(name), tiny_models.make(name, packed_attention.NAME)
    row = row_of(sequences)
    row = {key: row[key] for key in ("input_ids", "position_ids", "cu_seq_lens_q", "max_length_q")}
    with torch.no_grad():
        alone = torch.cat([plain(input_ids=ids[None], use_cache=False).logits[0] for ids in sequences])
        together = ours(**row, use_cache=False).logits[0]
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-5)


def test_what_only_some_models_ask_for_is_refused() -> None:
    one, lengths = torch.zeros(1, 2, 4, 8), torch.tensor([0, 4], dtype=torch.int32)
    options: dict[str, Any] = {"cu_seq_lens_q": lengths, "max_length_q": 4}
    with pytest.raises(ValueError, match="softcap"):
        packed_attention.packed_attention(torch.nn.Identity(), one, one, one, None, softcap=30.0, **options)
    looks_ahead = torch.nn.Identity()
    looks_ahead.is_causal = False
    with pytest.raises(ValueError, match="not causal"):
        packed_attention.packed_attention(looks_ahead, one, one, one, None, **options)
