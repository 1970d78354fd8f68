"""FP8 is taken where the first row agrees with bf16, layer by layer; what was found holds for the whole training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.models import load
from pipeline.train.data.pack import PACKED
from pipeline.train.kernels import batches, fp8, fp8_check, fused_lora, loss
from pipeline.train.loop.trainer import PackedRows


def model(quantised: bool = False) -> tuple[Any, list[fused_lora.Group]]:
    """A random two-layer Llama with an adapter; all its widths have FP8 kernels."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    causal = LlamaForCausalLM(LlamaConfig(vocab_size=96, num_key_value_heads=1, initializer_range=0.1, **sizes))
    causal.config._attn_implementation = batches.implementation(True, "cpu")
    batches.prepare(causal)
    with load.quiet_peft():
        whole = get_peft_model(causal, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    return causal, fused_lora.fuse(whole)


def row() -> dict[str, Any]:
    ids = torch.randint(0, 96, (60,), generator=torch.Generator().manual_seed(1)).tolist()
    table = pa.Table.from_pylist(
        [{"input_ids": ids, "labels": [-100] * 10 + ids[10:], "seq_lengths": [25, 35]}], schema=PACKED
    )
    return PackedRows(table, np.arange(1))[0]


def loss_of(causal: Any) -> float:
    with torch.no_grad():
        return float(loss.row_loss(causal, row()))


def test_layers_that_agree_multiply_in_fp8_and_evaluation_does_not(tmp_path: Path) -> None:
    causal, groups = model()
    plain = loss_of(causal.eval())
    verdict = fp8_check.settle(causal, groups, row(), False, False, tmp_path / "fp8.json", "key")
    assert (verdict.groups, verdict.refused, verdict.used) == (8, {}, True)
    assert verdict.losses[0] == pytest.approx(plain / 50, rel=1e-5)
    assert 0 < abs(verdict.losses[1] / verdict.losses[0] - 1) < 0.01
    assert 0.97 < verdict.cosine < 1
    assert all(isinstance(group.fp8, fp8.Weights) for group in groups)
    assert loss_of(causal.train()) == pytest.approx(verdict.losses[1] * 50, rel=1e-5)
    assert loss_of(causal.eval()) == plain
    assert all(parameter.grad is None for parameter in causal.parameters())


def test_a_layer_with_outliers_stays_as_it_is_and_is_named(tmp_path: Path) -> None:
    causal, groups = model()
    layer = causal.model.layers[1]
    layer.input_layernorm.weight.data[7] = 1e6  # so large that the others round to nothing beside it
    for name in ("q_proj", "k_proj", "v_proj"):
        getattr(layer.self_attn, name).weight.data[:, 7] = 0.0  # and does nothing itself
    verdict = fp8_check.settle(causal, groups, row(), False, False, tmp_path / "fp8.json", "key")
    (refused,) = verdict.refused
    assert refused == "1.self_attn.q_proj 1.self_attn.k_proj 1.self_attn.v_proj"
    assert verdict.refused[refused] > fp8_check.ERROR
    assert verdict.used
    assert [group.fp8 is None for group in groups] == [group.name == refused for group in groups]
    assert f"in 7 of 8 steps of the layers: loss {verdict.losses[1]:.4f}" in verdict.sentence()
    assert f"; in bf16 stay {refused} (error " in verdict.sentence()


def test_fp8_that_does_not_agree_is_used_only_where_it_is_wanted(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(fp8_check, "COSINE", 1.1)
    causal, groups = model()
    verdict = fp8_check.settle(causal, groups, row(), False, False, tmp_path / "auto.json", "key")
    assert not verdict.used
    assert verdict.sentence().startswith("products stay in bf16: on the first row FP8 does not agree with it (loss ")
    assert all(group.fp8 is None for group in groups)
    verdict = fp8_check.settle(causal, groups, row(), False, True, tmp_path / "fp8.json", "key")
    assert verdict.used
    assert all(group.fp8 is not None for group in groups)


def test_a_training_that_goes_on_does_as_it_did(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "fp8.json"
    causal, groups = model()
    first = fp8_check.settle(causal, groups, row(), True, False, file, "key")
    content = json.loads(file.read_text())
    content["verdict"]["refused"] = {groups[2].name: 0.2}
    file.write_text(json.dumps(content))
    causal, groups = model()
    monkeypatch.setattr(fp8_check, "_measured", None)  # is not called
    again = fp8_check.settle(causal, groups, row(), True, False, file, "key")
    assert again.refused == {groups[2].name: 0.2}
    assert [group.fp8 is None for group in groups] == [number == 2 for number in range(8)]
    assert again.losses == first.losses
    monkeypatch.undo()
    assert fp8_check.settle(causal, groups, row(), True, False, file, "another").refused == {}
