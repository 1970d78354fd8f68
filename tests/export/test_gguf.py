"""GGUF files: what llama.cpp loads is the merged model, or it is not published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from pipeline.errors import ConfigError, IntegrityError, MissingModelError, MissingStageError
from pipeline.export import gguf, gguf_architectures, gguf_convert, llamacpp, merge
from pipeline.models import architectures, load
from pipeline.run import Run
from tests.export.test_merge import trained
from tests.models.test_architectures import SEEING
from tests.small_model import TEMPLATE, make_tokenizer

SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.1,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
ASKED = [{"role": "user", "content": "x"}]
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 512}
MINISTRAL = {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}
TWO_ROPES = {"full_attention": YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
SCALES = {
    "attention_multiplier": 0.1,
    "embedding_multiplier": 6.0,
    "residual_multiplier": 0.5,
    "logits_scaling": 4.0,
}
GRANITE4 = {
    **SCALES,
    "num_local_experts": 0,
    "shared_intermediate_size": 512,
    "layer_types": 2 * ["full_attention"],
    "position_embedding_type": "rope",
    "mamba_n_heads": 64,
}
PHI4 = {
    "tie_word_embeddings": True,
    "original_max_position_embeddings": 1280,
    "max_position_embeddings": 4096,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "partial_rotary_factor": 0.75,
        "short_factor": [1 + 0.1 * number for number in range(12)],
        "long_factor": [2.0 + number for number in range(12)],
    },
}
GEMMA3 = {
    "num_hidden_layers": 6,
    "head_dim": 64,
    "query_pre_attn_scalar": 64,
    "sliding_window": 200,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
}
GEMMA4 = {
    "num_hidden_layers": 4,
    "layer_types": 2 * ["sliding_attention", "full_attention"],
    "head_dim": 32,
    "global_head_dim": 64,
    "sliding_window": 200,
    "hidden_size_per_layer_input": 32,
    "vocab_size_per_layer_input": 326,
    "final_logit_softcapping": 30.0,
}
LINEAR = {
    "num_hidden_layers": 4,
    "head_dim": 64,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
}


def build(place: Path, kind: str, tokenizer: Any = None, **settings: Any) -> Path:
    """Writes a random model of an architecture with a byte-level BPE tokenizer; returns the folder."""
    import transformers

    tokenizer = tokenizer or make_tokenizer()
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer) + 5, bos_token_id=1, eos_token_id=2, pad_token_id=0, **{**SHAPE, **settings}
    )
    causal = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    for name, parameter in causal.named_parameters():
        if parameter.ndim == 1 and "A_log" not in name:  # norms and biases, which start as ones or zeros
            parameter.data += torch.rand_like(parameter) - 0.5
    causal.save_pretrained(place, max_shard_size="200KB")
    tokenizer.save_pretrained(place)
    return place


def convert(folder: Path, make_project: Any, target: Path, text: str = "") -> Path:
    gguf_convert.convert(folder, target, load.Base.of(make_project(base=folder), str(folder)).tokenizer(), "test", text)
    return target


def expected(folder: Path, ids: list[int], first: int) -> np.ndarray:
    from transformers import AutoConfig, AutoModelForCausalLM

    part = {"config": AutoConfig.from_pretrained(folder).get_text_config(), "key_mapping": architectures.TEXT_NAMES}
    causal = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **part)
    with torch.inference_mode():
        chances = causal(torch.tensor([ids])).logits[0].log_softmax(-1)
    return -chances[torch.arange(first - 1, len(ids) - 1), torch.tensor(ids[first:])].numpy()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Llama", {"tie_word_embeddings": True}),
        ("Llama", {"head_dim": 64, "attention_bias": True}),
        ("Llama", {"rope_parameters": LLAMA3}),
        ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0}}),
        ("Mistral", {"sliding_window": 1024}),
        ("Qwen2", {}),
        ("Qwen3", {"head_dim": 64, "tie_word_embeddings": True}),
        ("Qwen3", {"head_dim": 32, "rope_parameters": YARN}),
        ("Qwen3_5Text", LINEAR),
        ("SmolLM3", {"num_hidden_layers": 4, "rope_parameters": YARN}),
        ("Granite", SCALES),
        ("GraniteMoeHybrid", GRANITE4),
        ("Phi3", {}),
        ("Phi3", PHI4),
        ("Olmo2", {}),
        ("Olmo3", {"num_hidden_layers": 4, "sliding_window": 200, "rope_parameters": TWO_ROPES}),
        ("Gemma3Text", GEMMA3),
        ("Gemma4Text", {**GEMMA4, "num_kv_shared_layers": 2, "use_double_wide_mlp": True}),
        ("Gemma4Text", {**GEMMA4, "attention_k_eq_v": True, "num_global_key_value_heads": 1}),
        ("Gemma4Text", {**GEMMA4, "final_logit_softcapping": None, "initializer_range": 0.5}),
        ("Ministral3", {"head_dim": 32, "rope_parameters": MINISTRAL}),
    ],
)
def test_llama_cpp_computes_what_transformers_does(
    tmp_path: Path, make_project: Any, kind: str, settings: dict[str, Any]
) -> None:
    folder = build(tmp_path / "model", kind, **settings)
    assert (folder / "model.safetensors.index.json").exists()
    target = convert(folder, make_project, tmp_path / "model.gguf")
    ids = torch.randint(6, 300, (1100,), generator=torch.Generator().manual_seed(3)).tolist()
    ids = (
        ids if kind != "Mistral" else ids[:1000]
    )  # beyond its window the two differ, and the file's context ends there
    with llamacpp.Runtime(target, 1200) as runtime:  # two calls of 512 tokens and a rest
        got = runtime.losses(ids, 7)
    assert llamacpp.render(target, [ASKED], TEMPLATE) == ["<|user|>\nx<|end|>\n<|assistant|>\n"]  # the server loads it
    wanted = expected(folder, ids, 7)
    assert got.shape == wanted.shape == (len(ids) - 7,)
    assert abs(got.mean() / wanted.mean() - 1) < 5e-4
    assert np.quantile(np.abs(got - wanted), 0.99) < 0.15


@pytest.mark.parametrize(("kind", "own"), [("gemma3", GEMMA3), ("qwen3_5", LINEAR)])
def test_the_text_part_of_a_model_that_sees_is_converted(
    tmp_path: Path, make_project: Any, kind: str, own: dict[str, Any]
) -> None:
    from transformers import AutoConfig, AutoModelForImageTextToText

    words = make_tokenizer()
    text = {**SHAPE, **own, "vocab_size": len(words) + 5, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, text_config=text, vision_config=SEEING[kind]["vision_config"])
    AutoModelForImageTextToText.from_config(config).to(torch.bfloat16).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    ids = list(range(6, 300))
    with llamacpp.Runtime(convert(tmp_path, make_project, tmp_path / "m.gguf"), 512) as runtime:
        got = runtime.losses(ids, 1)
    wanted = expected(tmp_path, ids, 1)
    assert abs(got.mean() / wanted.mean() - 1) < 5e-4
    assert wanted.std() > 0.3


def test_the_context_ends_with_the_sliding_window(tmp_path: Path, make_project: Any) -> None:
    from gguf import GGUFReader

    folder = build(tmp_path / "model", "Mistral", sliding_window=1024)
    convert(folder, make_project, tmp_path / "m.gguf")
    assert GGUFReader(tmp_path / "m.gguf").get_field("llama.context_length").contents() == 1024


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("Gemma", {}, "the model's type is gemma"),
        ("Llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "'dynamic'"),
        ("Llama", {"rope_parameters": {**YARN, "beta_fast": 16}}, "its kind of rotary scaling 'yarn'"),
        ("Qwen2", {"rope_parameters": LLAMA3}, "no qwen2 with rotary scaling 'llama3'"),
        ("Llama", {"hidden_act": "gelu"}, "the activation 'gelu'"),
        ("SmolLM3", {"no_rope_layers": [1, 0]}, "another order of layers without positions"),
        ("Gemma3Text", {"query_pre_attn_scalar": 24}, "another attention scale"),
        ("Gemma3Text", {"final_logit_softcapping": 2.0}, "a cap on its logits"),
        ("GraniteMoeHybrid", {"layer_types": ["mamba", "attention"]}, "state-space layers"),
        ("Qwen3_5Text", {"layer_types": 2 * ["full_attention", "linear_attention"]}, "layers that attend"),
        ("Llama", {"intermediate_size": 100}, "q8_0 needs rows of a multiple of 32, and the model's are 100"),
        ("Llama", {"hidden_size": 72, "num_attention_heads": 2}, "needs rows of a multiple of 32"),
    ],
)
def test_what_cannot_be_converted_is_one_sentence(kind: str, change: dict[str, Any], message: str) -> None:
    import transformers

    own = {"Gemma3Text": GEMMA3, "GraniteMoeHybrid": GRANITE4, "Qwen3_5Text": LINEAR}.get(kind, {})
    config = getattr(transformers, f"{kind}Config")(**{**SHAPE, **own, **change})
    with pytest.raises(ConfigError, match=message):
        gguf_architectures.check(config, ["f16", "q8_0", "q4_k_m"])


def test_a_number_that_f16_does_not_hold_is_refused(tmp_path: Path, make_project: Any) -> None:
    from safetensors.torch import load_file, save_file

    folder = build(tmp_path / "model", "Llama")
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    tensors = load_file(shard)
    next(tensor for tensor in tensors.values() if tensor.ndim > 1)[0, 0] = 1e6
    save_file(tensors, shard, metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match="beyond the range of F16"):
        convert(folder, make_project, tmp_path / "m.gguf")


def test_a_file_that_is_cut_short_does_not_load(tmp_path: Path, make_project: Any) -> None:
    folder = build(tmp_path / "model", "Llama")
    target = convert(folder, make_project, tmp_path / "m.gguf")
    target.write_bytes(target.read_bytes()[:-4096])
    with pytest.raises(IntegrityError, match=r"does not load m\.gguf"):
        llamacpp.Runtime(target, 64)


# -- the stage --------------------------------------------------------------------------------------------------------


@pytest.fixture
def merged(curated: Run, make_project: Any) -> Run:
    project = make_project(export={"dtype": "float32"})
    merge.export(project, trained(curated, project), Console(quiet=True))
    return curated


GATES = {"f16": 0.005, "q8_0": 0.05, "q4_k_m": 0.5}


def test_every_kind_is_measured_and_published(merged: Run, make_project: Any) -> None:
    project = make_project(
        export={"dtype": "float32", "gguf": ["f16", "q8_0", "q4_k_m"], "gguf_gates": {**GATES, "q4_k_m": 1.0}}
    )
    facts = gguf.export(project, merged, Console(quiet=True))
    assert [file["kind"] for file in facts["files"]] == ["f16", "q8_0", "q4_k_m"]
    assert gguf.problems(facts) is None
    assert (
        facts["merged_perplexity"]
        == merged.read_json(merge.METRICS)["bases"][merged.read_json(merge.METRICS)["chosen"]]["perplexity"]
    )
    assert abs(facts["files"][0]["change"]) < 0.002
    assert "Q8_0" in facts["files"][1]["types"]
    assert not any(kind.endswith("_K") for kind in facts["files"][2]["types"])  # rows of 64 and 128: all fall back
    names = sorted(path.name for path in merged.local(gguf.FOLDER).iterdir())
    assert names == ["test-f16.gguf", "test-q4_k_m.gguf", "test-q8_0.gguf"]
    before = merged.local(f"{gguf.FOLDER}/test-f16.gguf").stat().st_mtime_ns
    assert gguf.export(project, merged, Console(quiet=True)) == facts
    assert merged.local(f"{gguf.FOLDER}/test-f16.gguf").stat().st_mtime_ns == before


def test_a_file_that_misses_its_gate_is_told_and_deleted(merged: Run, make_project: Any) -> None:
    project = make_project(
        export={"dtype": "float32", "gguf": ["f16", "q4_k_m"], "gguf_gates": {"f16": 0.01, "q4_k_m": 1e-9}}
    )
    facts = gguf.export(project, merged, Console(quiet=True))
    problem = gguf.problems(facts)
    assert problem is not None
    assert problem.startswith("not published: q4_k_m: perplexity ")
    assert [path.name for path in merged.local(gguf.FOLDER).iterdir()] == ["test-f16.gguf"]
    assert gguf.problems(gguf.export(project, merged, Console(quiet=True))) == problem  # told again, made no more


def test_other_token_ids_keep_a_file_back(merged: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = llamacpp.Runtime.tokenize
    monkeypatch.setattr(
        llamacpp.Runtime, "tokenize", lambda self, text, special=True: real(self, text.replace("ﬁ", "fi"), special)
    )
    project = make_project(export={"dtype": "float32", "gguf": ["f16"]})
    facts = gguf.export(project, merged, Console(quiet=True))
    assert facts["files"][0]["unlike"] == 3  # as question, as system message, as answer
    assert "3 texts have other token ids in llama.cpp than in training, such as conversation 5" in str(
        gguf.problems(facts)
    )
    assert list(merged.local(gguf.FOLDER).iterdir()) == []


def test_a_base_is_checked_before_it_is_trained(tiny: Path, tmp_path: Path, make_project: Any) -> None:
    def check(base: Path, **settings: Any) -> None:
        project = make_project(base=base, export={"gguf": ["q8_0"]}, **settings)
        gguf.check(project, load.Base.of(project))

    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / file).write_bytes((tiny / file).read_bytes())
    check(tmp_path)  # without weights
    jinja = tmp_path / "counts.jinja"
    jinja.write_text(
        TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'] | length if loop.first }}{{ m['content'] }}")
    )
    with pytest.raises(ConfigError, match="otherwise than training"):
        check(tmp_path, chat_template=str(jinja))
    rules = json.loads((tmp_path / "tokenizer.json").read_text())
    rules["pre_tokenizer"] = {"type": "Whitespace"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(ConfigError, match="splits words"):
        check(tmp_path)


def test_a_kind_that_llama_cpp_cannot_make_is_told_and_the_others_stay(
    merged: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(llamacpp.TYPES, "q8_0", 999)
    project = make_project(export={"dtype": "float32", "gguf": ["f16", "q8_0"]})
    facts = gguf.export(project, merged, Console(quiet=True))
    assert str(gguf.problems(facts)).startswith("not published: q8_0: llama.cpp could not quantise")
    assert [path.name for path in merged.local(gguf.FOLDER).iterdir()] == ["test-f16.gguf"]


def test_it_needs_a_merged_model_and_the_packages(
    curated: Run, merged: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = make_project(export={"gguf": ["f16"]})
    with pytest.raises(MissingStageError, match=r"jobs\.curate"):
        gguf.export(project, Run.open(str(tmp_path / "empty")), Console(quiet=True))
    monkeypatch.setitem(__import__("sys").modules, "cyllama.llama", None)
    with pytest.raises(MissingModelError, match=r"solotune\[gguf\]"):
        gguf.export(project, merged, Console(quiet=True))


def test_a_delta_net_with_narrow_heads_is_no_gguf_file() -> None:
    from transformers import Qwen3_5TextConfig

    narrow = Qwen3_5TextConfig(**{**LINEAR, "linear_key_head_dim": 16, "linear_value_head_dim": 16})
    with pytest.raises(ConfigError, match=r"llama.cpp has no .* with heads of fewer than 32 numbers"):
        gguf_architectures.check(narrow, ["f16"])
