"""Every architecture on the list: examples side by side are computed as if each were alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.models import load
from pipeline.train.data import pack
from pipeline.train.kernels import fused_lora, loss, packed_attention
from pipeline.train.kernels.gradient_checkpointing import recompute_layers
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


def adapted(name: str, attention: str, **changes: Any) -> Any:
    """The model with an adapter on every linear layer, whose B is not zero; the same numbers at every call."""
    from peft import LoraConfig, get_peft_model

    with load.quiet_peft():
        settings = LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
        whole = get_peft_model(tiny_models.make(name, attention, **changes), settings)
    torch.manual_seed(1)
    for parameter_name, parameter in whole.named_parameters():
        if "lora_" in parameter_name:
            parameter.data.copy_(torch.randn(parameter.shape) * 0.1)
    return whole


def gradients(whole: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in whole.named_parameters() if parameter.grad is not None}


def each_alone(name: str, sequences: list[torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    """The summed loss of the sequences and its gradients, by transformers' own forward pass, one after the other."""
    whole, total = adapted(name, "sdpa"), 0.0
    for ids in sequences:
        if len(ids) > 1:
            logits = whole(input_ids=ids[None], use_cache=False).logits[0]
            summed = torch.nn.functional.cross_entropy(logits[:-1].float(), ids[1:], reduction="sum")
            summed.backward()
            total += summed.item()
    return total, gradients(whole)


@pytest.mark.parametrize("recomputed", [0, None])
@pytest.mark.parametrize(
    ("name", "attention"),
    [(name, packed_attention.NAME) for name in PACKED] + [(name, "sdpa") for name in tiny_models.MODELS],
)
def test_loss_and_gradients_of_a_row_are_those_of_its_examples(
    name: str, attention: str, recomputed: int | None
) -> None:
    """In packed rows (`packed`) and in padded batches (`sdpa`)."""
    sequences = tiny_models.sequences(*LENGTHS)
    expected, wanted = each_alone(name, sequences)
    whole = adapted(name, attention).train()
    recompute_layers(whole.get_base_model(), recomputed)
    summed = loss.row_loss(whole.get_base_model(), row_of(sequences))
    summed.backward()
    assert summed.item() == pytest.approx(expected, rel=1e-5)
    found = gradients(whole)
    assert found.keys() == wanted.keys()
    for parameter, gradient in wanted.items():
        assert (found[parameter] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-6, parameter


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


@pytest.mark.parametrize("name", tiny_models.MODELS)
def test_fused_layers_compute_what_the_models_own_do(name: str) -> None:
    attention = packed_attention.NAME if name in PACKED else "sdpa"
    row = row_of(tiny_models.sequences(*LENGTHS))
    results = []
    for fused in (False, True):
        whole = adapted(name, attention).train()
        recompute_layers(whole.get_base_model(), 1)
        if fused:
            assert len(fused_lora.fuse(whole)) >= 2 * 3
        summed = loss.row_loss(whole.get_base_model(), row)
        summed.backward()
        results.append((summed.item(), gradients(whole)))
    (expected, wanted), (found_loss, found) = results
    assert found_loss == pytest.approx(expected, rel=1e-5)
    assert found.keys() == wanted.keys()
    for parameter, gradient in wanted.items():
        assert (found[parameter] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-6, parameter
