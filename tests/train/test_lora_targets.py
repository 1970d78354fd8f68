"""Which layers get an adapter: names as the architectures have them, and a sentence for any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.config.train import Lora
from pipeline.errors import ConfigError
from pipeline.models.load import Base
from pipeline.run import Run
from pipeline.train import lora_targets, qlora
from tests.train import tiny_models


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("phi3", ("qkv_proj", "gate_up_proj", "down_proj")),
        ("qwen3_5", ("in_proj_qkv", "in_proj_z", "out_proj", "q_proj")),
        ("granite4", ("input_linear", "output_linear")),
        ("gemma4", ("per_layer_input_gate", "self_attn.q_proj")),
        ("qwen3_5", "qv"),
        ("phi3", "all-linear"),
    ],
)
def test_names_that_a_model_has(name: str, targets: Any) -> None:
    wanted = ["q_proj", "v_proj"] if targets == "qv" else targets
    found = lora_targets.of(tiny_models.make(name), Lora(targets=targets))
    assert found == (wanted if isinstance(wanted, str) else list(wanted))


@pytest.mark.parametrize(
    ("name", "targets", "sentence"),
    [
        (
            "phi3",
            "qv",
            "qv asks for q_proj and v_proj, but phi3 has no linear layer q_proj, v_proj: it has down",
        ),
        ("phi3", ("qkv_proj", "q_proj"), "phi3 has no linear layer q_proj: it has .*gate_up_proj, o_proj, qkv_proj"),
        ("llama", ("proj",), "llama has no linear layer proj"),
        ("llama", ("mlp",), "llama has no linear layer mlp"),
        ("qwen3_5", ("conv1d",), "qwen3_5_text has no linear layer conv1d"),
        ("llama", ("q_proj", "lm_head"), "lm_head: embeddings and output matrix are not trained here"),
        ("gemma4", ("embed_tokens_per_layer",), "embed_tokens_per_layer: embeddings and output matrix"),
    ],
)
def test_names_that_it_has_not_are_a_sentence(name: str, targets: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^train.lora.targets: {sentence}"):
        lora_targets.of(tiny_models.make(name), Lora(targets=targets))


def test_a_name_is_checked_before_rows_are_packed(curated: Run, make_project: Any, tmp_path: Path) -> None:
    base = tiny_models.save("phi3", tmp_path / "base")
    (base / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="phi3 has no linear layer q_proj, v_proj"):
        lora_targets.check(Base.of(make_project(base=base)), Lora(targets="qv"))
    project = make_project(base=base, train={"recompute": 0, "lora": {"targets": ["qkv_porj"]}})
    with pytest.raises(ConfigError, match="phi3 has no linear layer qkv_porj"):
        qlora.train(project, curated, Console(quiet=True))
    assert not curated.list("stages/pack")
