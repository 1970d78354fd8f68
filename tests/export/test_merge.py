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
from pipeline.errors import ConfigError, GateError, IntegrityError, MissingStageError
from pipeline.export import merge
from pipeline.models import load, safetensors_io
from pipeline.run import Run
from pipeline.train import qlora
from serve_app.engines import exported
from tests.models.test_template_presets import sentencepiece
from tests.small_model import make_model


def trained(run: Run, project: Project) -> Run:
    """The run folder as `train` leaves it, with an adapter whose every tensor matters."""
    causal, tokenizer = load.Base.of(project).load()
    torch.manual_seed(1)
    adapted = qlora.add_adapter(causal, project)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.05)
    qlora._write_adapter(run.local(load.ADAPTER), adapted, tokenizer)
    stage = run.begin("train", "train-key")
    metrics = {"examples": 60, "supervised_tokens": 720, "steps": [{}], "device": "CPU, 2 threads"}
    run.put_json(stage, qlora.METRICS, metrics)
    run.commit(stage, {"base": load.Base.of(project).fingerprint}, {})
    return run


def export(project: Project, run: Run) -> dict[str, Any]:
    return merge.export(project, run, Console(quiet=True))


def test_a_base_without_a_pad_token_is_exported_and_served(curated: Run, make_project: Any, tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", tokenizer=sentencepiece())  # as Llama 2's and Mistral's
    project = make_project(base=base, chat_template="default", export={"dtype": "float32"})
    metrics = export(project, trained(curated, project))
    assert metrics["bases"][metrics["chosen"]]["passed"]
    served = exported.find(project, curated).tokenizer
    assert (served.pad_token, served.pad_token_id) == ("<unk>", 0)
    assert len(served) == json.loads((curated.local(merge.MERGED) / "config.json").read_text())["vocab_size"]
    assert GenerationConfig.from_pretrained(curated.local(merge.MERGED)).pad_token_id == 0


@pytest.mark.parametrize(("tie", "size"), [(True, "5GB"), (False, "60KB")])
def test_merged_equals_adapter_and_loads_plainly(
    curated: Run, make_project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tie: bool, size: str
) -> None:
    base = make_model(tmp_path / "base", tie=tie, max_shard_size=size)
    assert (base / "model.safetensors.index.json").exists() == (not tie)
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n")
    monkeypatch.setattr(safetensors_io, "LIMIT", 1 << 30 if tie else 100_000)
    project = make_project(base=base, export={"dtype": "float32"})
    metrics = export(project, trained(curated, project))
    assert set(metrics["bases"]) == {"base", "nf4"}
    for measured in metrics["bases"].values():
        assert abs(measured["change"]) < 1e-4
        assert measured["top1"] == 1.0
    place = curated.local(merge.MERGED)
    assert (place / "model.safetensors.index.json").exists() == (not tie)

    loaded, tokenizer = AutoModelForCausalLM.from_pretrained(place), AutoTokenizer.from_pretrained(place)
    assert metrics["chosen"] == min(metrics["bases"], key=lambda name: metrics["bases"][name]["perplexity"])
    quantise = "nf4" if metrics["chosen"] == "nf4" else None
    tuned = load.attach(load.Base.of(project, str(base)).load(quantise)[0], curated.local(load.ADAPTER))
    ids = torch.tensor([tokenizer("lost card open account").input_ids])
    with torch.inference_mode():
        torch.testing.assert_close(loaded(ids).logits, tuned(ids).logits, atol=1e-4, rtol=0)
    assert loaded.dtype == torch.float32
    assert loaded.num_parameters() == metrics["parameters"]
    assert tokenizer.chat_template == load.Base.of(project, str(base)).tokenizer().chat_template
    assert GenerationConfig.from_pretrained(place).eos_token_id == [2, 5]
    card = (place / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "shipped" in card
    assert "peft" in (curated.local(load.ADAPTER) / "README.md").read_text()
    assert curated.manifest("train") is not None  # the card is no part of what training left
    assert metrics["template_sha256"] in card
    assert curated.require("export")["outputs"].keys() >= {f"{merge.MERGED}/README.md", merge.METRICS}
    assert export(project, curated) == curated.read_json(merge.METRICS)


@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_other_kinds_of_adapter_merge_as_exactly(curated: Run, make_project: Any, kind: str) -> None:
    lora = {"r": 4, "alpha": 8, kind: True}
    project = make_project(train={"lora": lora}, export={"dtype": "float32"})
    for measured in export(project, trained(curated, project))["bases"].values():
        assert abs(measured["change"]) < 1e-4


def test_the_bases_own_type_is_kept_unless_asked_otherwise(curated: Run, make_project: Any) -> None:
    project = make_project(export={"perplexity_gate": 0.2, "top1_gate": 0.5})
    metrics = export(project, trained(curated, project))
    assert metrics["dtype"] == "bfloat16"
    assert all(abs(base["change"]) > 1e-6 for base in metrics["bases"].values())  # what rounding costs


def test_the_base_of_the_better_merge_is_shipped(
    curated: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(export={"dtype": "float32"})
    trained(curated, project)
    real = merge.compare
    seen: list[float] = []

    def worse_at_first(*arguments: Any) -> dict[str, Any]:
        found = real(*arguments)
        seen.append(found["perplexity"])
        return {**found, "perplexity": 1e9 if len(seen) == 1 else found["perplexity"]}

    monkeypatch.setattr(merge, "compare", worse_at_first)
    metrics = export(project, curated)
    assert metrics["chosen"] == "nf4"
    assert len(set(seen)) == 2  # two bases, two models
    loaded = AutoModelForCausalLM.from_pretrained(curated.local(merge.MERGED))
    tuned = load.attach(load.Base.of(project).load("nf4")[0], curated.local(load.ADAPTER))
    ids = torch.tensor([[7, 8, 9, 10, 11]])
    with torch.inference_mode():
        torch.testing.assert_close(loaded(ids).logits, tuned(ids).logits, atol=1e-4, rtol=0)
    assert not list(curated.local("model").glob(".merged*"))


def test_an_adapter_of_an_unquantised_base_has_one_base_to_merge_into(curated: Run, make_project: Any) -> None:
    project = make_project(train={"quantise": None}, export={"dtype": "float32"})
    assert set(export(project, trained(curated, project))["bases"]) == {"base"}


@pytest.mark.parametrize(
    ("gates", "message"),
    [({"perplexity_gate": 0.0}, "at most 0.0% allowed"), ({"top1_gate": 1.0, "perplexity_gate": 0.5}, "at least 100%")],
)
def test_a_merge_that_misses_a_gate_publishes_nothing(
    curated: Run, make_project: Any, gates: dict[str, float], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(export=gates)
    trained(curated, project)
    real = merge._scored

    def one_token_off(*arguments: Any) -> Any:
        found = real(*arguments)
        found[0].argmax[0] += 1
        return found

    monkeypatch.setattr(merge, "_scored", one_token_off)
    with pytest.raises(GateError, match=f"{message}.*nothing was published"):
        export(project, curated)
    assert not curated.exists(merge.MERGED)
    assert curated.manifest("export") is None
    assert not list(curated.local("model").glob(".merged*"))


@pytest.mark.parametrize("kind", [{"use_rslora": True}, {"use_dora": True}, {"use_dora": True, "use_rslora": True}])
def test_rank_stabilised_and_dora_adapters_merge_as_peft_merges_them(
    tiny: Path, tmp_path: Path, make_project: Any, kind: dict[str, bool]
) -> None:
    from peft import LoraConfig, get_peft_model

    project = make_project()
    causal, _ = load.Base.of(project, str(tiny)).load()
    torch.manual_seed(2)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, **kind)
    with load.quiet_peft():
        adapted = get_peft_model(causal, settings)
        for name, parameter in adapted.named_parameters():
            if "magnitude" in name:
                parameter.data *= 1.5
        adapted.save_pretrained(tmp_path)
    deltas = merge.Deltas(tmp_path)
    ours = {name: deltas.apply(name, tensor) for name, tensor in safetensors_io.read(tiny)}
    deltas.require_all_used()
    for name, theirs in adapted.merge_and_unload().state_dict().items():
        if name in ours:
            torch.testing.assert_close(ours[name].float(), theirs, atol=1e-5, rtol=1e-5)
    assert len(ours) > 10


def test_a_base_that_is_another_than_the_one_trained_on_is_refused(
    curated: Run, make_project: Any, tmp_path: Path
) -> None:
    base = make_model(tmp_path / "base")
    run = trained(curated, make_project(base=base))
    (tmp_path / "other").mkdir()
    other = make_model(tmp_path / "other" / "base", dtype="float32")  # the same name, other weights
    with pytest.raises(ConfigError, match=r"trained with another base .* run `jobs\.train` again"):
        export(make_project(base=other), run)
    assert not run.exists(merge.MERGED)
    with pytest.raises(ConfigError, match="trained with another base"):
        load.Base.trained(make_project(base=other), run)
    same = load.Base.trained(make_project(base=base), run)
    assert (same.folder, same.words) == (load.Base.of(make_project(base=base)).folder, run.local(load.ADAPTER))


def test_a_name_in_two_files_of_the_base_is_refused(tmp_path: Path) -> None:
    writer = safetensors_io.Shards(tmp_path)
    writer.add("a", torch.zeros(2))
    with pytest.raises(IntegrityError, match="two of its files"):
        writer.add("a", torch.zeros(2))


def edit_adapter(run: Run, change: Any) -> None:
    path = run.local(load.ADAPTER) / "adapter_model.safetensors"
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


def test_a_quantised_base_is_refused(
    curated: Run, make_project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load.Base, "trained", lambda project, _: load.Base.of(project))  # quantised since
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
