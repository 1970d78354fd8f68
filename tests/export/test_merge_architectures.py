"""Every architecture on the list: the merged model says what base and adapter say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from pipeline.export import merge
from pipeline.models import architectures, load, safetensors_io
from pipeline.models.load import Base
from pipeline.run import Run
from pipeline.train import qlora
from tests.export.test_merge import export, trained
from tests.models.test_architectures import SEEING
from tests.small_model import make_tokenizer
from tests.train import tiny_models

NAMES = ["gemma3", "gemma4", "gemma4 without values", "ministral3", "smollm3", "granite", "granite4", "phi3", "olmo3"]


@pytest.mark.parametrize("name", [*NAMES, "qwen3", "qwen3_5"])
def test_merged_equals_adapter(curated: Run, make_project: Any, tmp_path: Path, name: str) -> None:
    base = tiny_models.save(name, tmp_path / "base")
    quantise = "nf4" if name in {"phi3", "gemma4", "qwen3_5", "granite4"} else None
    project = make_project(base=base, train={"quantise": quantise}, export={"dtype": "float32"})
    metrics = export(project, trained(curated, project))
    for measured in metrics["bases"].values():
        assert abs(measured["change"]) < 1e-4
        assert measured["top1"] == 1.0
    whole = AutoModelForCausalLM.from_pretrained(curated.local(merge.MERGED))
    if metrics["chosen"] == "base":
        tuned = load.attach(Base.of(project).load()[0], curated.local(load.ADAPTER))
        ids = torch.arange(6, 26)[None]
        with torch.inference_mode():
            torch.testing.assert_close(whole(ids).logits, tuned(ids).logits, atol=2e-4, rtol=1e-4)
    assert whole.config.tie_word_embeddings == json.loads((base / "config.json").read_text())["tie_word_embeddings"]


@pytest.mark.parametrize("model_type", SEEING)
def test_the_text_part_of_a_model_that_sees_is_merged_and_its_eyes_are_kept(
    make_project: Any, tmp_path: Path, model_type: str
) -> None:
    """Its tensors have longer names on disk than in the model that trains."""
    run, base = Run.open(str(tmp_path / "run")), tmp_path / "base"
    config = AutoConfig.for_model(model_type, **SEEING[model_type])
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(config).to(torch.bfloat16).save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    project = make_project(base=base, train={"quantise": None}, export={"dtype": "float32"})
    adapted = qlora.add_adapter(_text_part(base), project)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.5)
    qlora._write_adapter(run.local(load.ADAPTER), adapted, make_tokenizer())
    merged = tmp_path / "merged"
    merged.mkdir()
    merge._merge(project, Base.of(project), run, merged, lambda _, weight: weight)
    ids = torch.arange(3, 23)[None]
    with torch.inference_mode():
        expected = adapted.eval()(input_ids=ids).logits
        torch.testing.assert_close(_text_part(merged)(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
        whole = AutoModelForImageTextToText.from_pretrained(merged)
        torch.testing.assert_close(whole(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
    before = dict(safetensors_io.shapes(base))
    assert dict(safetensors_io.shapes(merged)) == before
    assert any(architectures.text_name(name) is None for name in before) or model_type == "gemma4_unified"


def _text_part(folder: Path) -> Any:
    return load.Base.at(folder).load()[0]
