"""Merging: the published model is base plus adapter, or nothing is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from pipeline.config import Project
from pipeline.errors import ConfigError, IntegrityError, MissingStageError
from pipeline.run import Run
from pipeline.train import merge, model, qlora

from .conftest import make_model


def trained(run: Run, project: Project) -> Run:
    """The run folder as `train` leaves it, with an adapter whose every tensor matters."""
    causal, tokenizer = model.load(project.base_model, project)
    torch.manual_seed(1)
    adapted = qlora.add_adapter(causal, project)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.05)
    qlora._write_adapter(run.local(model.ADAPTER), adapted, tokenizer)
    stage = run.begin("train", "train-key")
    metrics = {"examples": 60, "supervised_tokens": 720, "steps": [{}], "device": "CPU, 2 threads"}
    run.put_json(stage, qlora.METRICS, metrics)
    run.commit(stage, {}, {})
    return run


def export(project: Project, run: Run) -> dict[str, Any]:
    return merge.export(project, run, Console(quiet=True))


@pytest.mark.parametrize(("tie", "size"), [(True, "5GB"), (False, "60KB")])
def test_merged_equals_adapter_and_loads_plainly(
    curated: Run, make_project: Any, tmp_path: Path, tie: bool, size: str
) -> None:
    base = make_model(tmp_path / "base", tie=tie, max_shard_size=size)
    assert (base / "model.safetensors.index.json").exists() == (not tie)
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n")
    project = make_project(base=base, export={"dtype": "float32", "shard_gib": 1.0 if tie else 1e-4})
    metrics = export(project, trained(curated, project))
    assert metrics["max_logit_difference"] < 1e-4
    place = curated.local(merge.MERGED)
    assert (place / "model.safetensors.index.json").exists() == (not tie)

    loaded, tokenizer = AutoModelForCausalLM.from_pretrained(place), AutoTokenizer.from_pretrained(place)
    tuned, _ = model.load_tuned(curated, project)
    ids = torch.tensor([tokenizer("lost card open account").input_ids])
    with torch.inference_mode():
        torch.testing.assert_close(loaded(ids).logits, tuned(ids).logits, atol=1e-4, rtol=0)
    assert loaded.dtype == torch.float32
    assert loaded.num_parameters() == metrics["parameters"]
    assert tokenizer.chat_template == model.load_tokenizer(str(base), project).chat_template
    assert GenerationConfig.from_pretrained(place).eos_token_id == [2, 5]
    card = (place / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert metrics["template_sha256"] in card
    assert curated.require("export")["outputs"].keys() >= {f"{merge.MERGED}/README.md", merge.METRICS}
    assert export(project, curated) == curated.read_json(merge.METRICS)


@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_other_kinds_of_adapter_merge_as_exactly(curated: Run, make_project: Any, kind: str) -> None:
    lora = {"r": 4, "alpha": 8, kind: True}
    project = make_project(train={"lora": lora}, export={"dtype": "float32"})
    assert export(project, trained(curated, project))["max_logit_difference"] < 1e-4


def test_the_bases_own_type_is_kept_unless_asked_otherwise(curated: Run, make_project: Any) -> None:
    project = make_project(export={"max_logit_difference": 5.0})
    metrics = export(project, trained(curated, project))
    assert metrics["dtype"] == "bfloat16"
    assert metrics["max_logit_difference"] > 1e-3  # what rounding the merged weights costs


def test_a_difference_beyond_the_limit_publishes_nothing(curated: Run, make_project: Any) -> None:
    project = make_project(export={"max_logit_difference": 1e-9})
    with pytest.raises(IntegrityError, match="nothing was published"):
        export(project, trained(curated, project))
    assert not curated.exists(merge.MERGED)
    assert curated.manifest("export") is None


def edit_adapter(run: Run, change: Any) -> None:
    path = run.local(model.ADAPTER) / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update({A.replace("layers.0", "layers.7"): t[A].clone()}), "fit no tensor of the base"),
        (lambda t: t.pop(A), "half a pair"),
        (lambda t: t.update({A: torch.zeros(4, 63)}), "another model"),
        (lambda t: t[A].fill_(float("nan")), "NaN"),
    ],
)
def test_an_adapter_that_does_not_fit_publishes_nothing(
    curated: Run, make_project: Any, change: Any, message: str
) -> None:
    project = make_project()
    edit_adapter(trained(curated, project), change)
    with pytest.raises(IntegrityError, match=message):
        export(project, curated)
    assert not curated.exists(merge.MERGED)


def test_a_quantised_base_is_refused(curated: Run, make_project: Any, tmp_path: Path) -> None:
    base = make_model(tmp_path / "base")
    project = make_project(base=base)
    trained(curated, project)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": {"load_in_4bit": True}}))
    with pytest.raises(ConfigError, match="quantised itself"):
        export(project, curated)


def test_export_needs_a_trained_run(curated: Run, make_project: Any) -> None:
    with pytest.raises(MissingStageError, match=r"jobs\.train"):
        export(make_project(), curated)
