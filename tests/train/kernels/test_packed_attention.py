"""Packed rows: a sequence is computed as if it were alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import masking_utils

from pipeline.models import load, template
from pipeline.train.data import pack
from pipeline.train.kernels import loss, packed_attention
from pipeline.train.loop import trainer


@pytest.fixture
def examples(tiny: Path, make_project: Any) -> list[template.Encoded]:
    tokenizer = load.Base.of(make_project(), str(tiny)).tokenizer()
    prompts = ["lost card", "open account with a new password " * 3, "fee", "refund code limit"]
    return template.encode_batch(tokenizer, prompts, ["close it", "no", "transfer fee " * 6, "app"], 128)


def packed(examples: list[template.Encoded]) -> dict[str, torch.Tensor]:
    columns = {
        "input_ids": [np.concatenate([np.array(row.input_ids, np.int32) for row in examples])],
        "labels": [np.concatenate([np.array(row.labels, np.int32) for row in examples])],
        "seq_lengths": [np.array([len(row.input_ids) for row in examples], np.int32)],
    }
    return trainer.PackedRows(pack.pa.table(columns, schema=pack.PACKED), np.arange(1))[0]


def test_packed_loss_is_the_sum_of_the_losses_alone(
    tiny: Path, make_project: Any, examples: list[template.Encoded]
) -> None:
    project = make_project()
    plain, _ = load.Base.of(project, str(tiny)).load()
    ours, _ = load.Base.of(project, str(tiny)).load(attention=packed_attention.register())
    alone = []
    for row in examples:
        labels = torch.tensor([row.labels])
        supervised = int((labels[:, 1:] != template.IGNORED).sum())
        alone.append(plain(input_ids=torch.tensor([row.input_ids]), labels=labels).loss.item() * supervised)
    for chosen in ([0], [1, 2], [0, 1, 2, 3], [3, 2, 1, 0]):
        together = loss.row_loss(ours, packed([examples[i] for i in chosen])).item()
        assert together == pytest.approx(sum(alone[i] for i in chosen), abs=1e-4)


def test_no_mask_is_built(
    tiny: Path, make_project: Any, examples: list[template.Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a mask was built")

    for name in ("sdpa_mask", "eager_mask"):
        monkeypatch.setattr(masking_utils, name, refuse)
    ours, _ = load.Base.of(make_project(), str(tiny)).load(attention=packed_attention.register())
    assert ours.config._attn_implementation not in masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
    loss.row_loss(ours, packed(examples))


def test_a_sliding_window_reaches_back_only_so_far() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 12, 8) for heads in (4, 2, 2))
    lengths = torch.tensor([0, 5, 12], dtype=torch.int32)
    out, _ = packed_attention.packed_attention(
        torch.nn.Identity(), query, key, value, None, 0.3, sliding_window=3, cu_seq_lens_q=lengths, max_length_q=7
    )
    keys, values = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    distance = torch.arange(12)[:, None] - torch.arange(12)[None]
    part = (torch.arange(12) >= 5).int()
    seen = (distance >= 0) & (distance < 3) & (part[:, None] == part[None])
    scores = (query @ keys.transpose(-1, -2) * 0.3).masked_fill(~seen, float("-inf"))
    torch.testing.assert_close(out, (scores.softmax(-1) @ values).transpose(1, 2))


def test_calls_it_cannot_answer_are_refused() -> None:
    one = torch.zeros(1, 2, 4, 8)
    with pytest.raises(ValueError, match="cu_seq_lens_q"):
        packed_attention.packed_attention(torch.nn.Identity(), one, one, one, None)
    two = torch.zeros(2, 2, 4, 8)
    lengths = torch.tensor([0, 4], dtype=torch.int32)
    with pytest.raises(ValueError, match="one batch row"):
        packed_attention.packed_attention(
            torch.nn.Identity(), two, two, two, None, cu_seq_lens_q=lengths, max_length_q=4
        )
