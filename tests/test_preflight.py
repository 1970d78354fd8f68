"""What a job will need is checked before a card is waited for: each kind of fault is one sentence."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from jobs import Job, plan
from jobs import train as job
from pipeline import preflight
from pipeline.config import Project
from pipeline.errors import ConfigError, InputError, MissingModelError, StorageError, UserError
from pipeline.models.load import Base
from pipeline.run import Run
from pipeline.train import qlora
from tests.export.test_gguf import build
from tests.small_model import begin_curated, make_model

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 123456\n"
WEIGHT = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("good") / "base", tie=False)


@pytest.fixture
def base(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder to break, and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(good, tmp_path / "base"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return begin_curated(tmp_path / "run")


def project(base: Path, **sections: Any) -> Project:
    train = {"max_length": 128, "quantise": None, **sections.pop("train", {})}
    return Project.model_validate({"name": "test", "base_model": str(base), "train": train, **sections})


def check(settings: Project, run: Run) -> str:
    said = io.StringIO()
    preflight.check(settings, Base.of(settings), run, Console(file=said, width=200))
    return said.getvalue()


def test_a_whole_base_is_read_once_and_one_line_says_so(base: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said = check(project(base), run)
    assert said.startswith("checked: ")
    assert said.count("\n") == 1
    monkeypatch.setattr(preflight.safetensors_io, "require_finite", lambda _: pytest.fail("it was read again"))
    assert check(project(base), run) == said


def point(name: str) -> Callable[[Path], None]:
    return lambda base: (base / name).write_text(POINTER) and None


def pickles(base: Path) -> None:
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()


def renamed(name: str) -> Callable[[Path], None]:
    return lambda base: (base / "model.safetensors").rename(base / name) and None


def index(content: str) -> Callable[[Path], None]:
    def broken(base: Path) -> None:
        (base / "model.safetensors").rename(base / "model-00001-of-00002.safetensors")
        (base / "model.safetensors.index.json").write_text(content)

    return broken


def cut(base: Path) -> None:
    content = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(content[: len(content) // 2])


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def broken(base: Path) -> None:
        held = load_file(base / "model.safetensors")
        change(held)
        save_file(held, base / "model.safetensors", metadata={"format": "pt"})

    return broken


def written(name: str, content: str) -> Callable[[Path], None]:
    return lambda base: (base / name).write_text(content) and None


def without(*names: str) -> Callable[[Path], None]:
    return lambda base: [(base / name).unlink() for name in names] and None


SHARDS = '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
BASES: dict[str, tuple[Callable[[Path], None], type[UserError], str]] = {
    "pointer, weights": (point("model.safetensors"), MissingModelError, "is a pointer of git-lfs.*git lfs pull"),
    "pointer, tokenizer": (point("tokenizer.json"), MissingModelError, "tokenizer.json is a pointer of git-lfs"),
    "pointer, settings": (point("config.json"), MissingModelError, "config.json is a pointer of git-lfs"),
    "pointer, index": (index(POINTER), MissingModelError, "index.json is a pointer of git-lfs"),
    "pickles": (
        pickles,
        MissingModelError,
        r"pytorch_model\.bin: .*pickles.* load it with transformers.*save_pretrained",
    ),
    "no index": (
        renamed("model-00001-of-00001.safetensors"),
        MissingModelError,
        r"without model\.safetensors or model",
    ),
    "no weights": (without("model.safetensors"), MissingModelError, "has no safetensors weights: download"),
    "a shard missing": (index(SHARDS), MissingModelError, "model-00002-of-00002.safetensors is missing"),
    "no index at all": (index("[]"), MissingModelError, "is no index of weights"),
    "cut short": (cut, MissingModelError, "is no safetensors file, or is cut short"),
    "NaN": (weights(lambda held: held[WEIGHT][3].fill_(float("nan"))), MissingModelError, f"{WEIGHT} holds NaN"),
    "infinite": (weights(lambda held: held["lm_head.weight"].fill_(float("inf"))), MissingModelError, "lm_head"),
    "a tensor missing": (weights(lambda held: held.pop(WEIGHT)), ConfigError, f"lack 1 tensors.*such as {WEIGHT}"),
    "another shape": (weights(lambda held: held.update({WEIGHT: torch.zeros(3, 64)})), ConfigError, "in other shapes"),
    "no tokenizer": (
        without("tokenizer.json", "tokenizer_config.json"),
        MissingModelError,
        "tokenizer.json is missing",
    ),
    "no JSON": (written("tokenizer_config.json", "{"), ConfigError, "tokenizer_config.json cannot be read as JSON"),
    "tokenizer cut": (written("tokenizer.json", '{"version": '), ConfigError, "cannot be read as a tokenizer"),
    "no template": (without("chat_template.jinja"), ConfigError, "has no chat template"),
    "bad template": (written("chat_template.jinja", "{% for"), ConfigError, "chat template"),
    "an adapter": (written("adapter_config.json", "{}"), MissingModelError, "holds an adapter .* merged into"),
    "other model": (written("config.json", '{"model_type": "mamba"}'), ConfigError, "cannot be trained here"),
    "generation": (
        written("generation_config.json", '{"num_beams": 1, "max_new_tokens": -3}'),
        ConfigError,
        r"generation_config\.json cannot be used",
    ),
}


@pytest.mark.parametrize("fault", BASES)
def test_a_base_that_is_not_whole_is_a_sentence(base: Path, run: Run, fault: str) -> None:
    spoil, error, sentence = BASES[fault]
    spoil(base)
    with pytest.raises(error, match=sentence) as told:
        check(project(base), run)
    assert "\n" not in str(told.value)


SETTINGS: dict[str, tuple[dict[str, Any], type[UserError], str]] = {
    "positions": ({"train": {"max_length": 257}}, ConfigError, "takes no more than 256 tokens"),
    "packed row": ({"train": {"pack_tokens": 64}}, ConfigError, "must not exceed train.pack_tokens"),
    "targets": ({"train": {"lora": {"targets": ["q_porj"]}}}, ConfigError, "has no linear layer q_porj: it has"),
    "output matrix": ({"train": {"lora": {"targets": ["lm_head"]}}}, ConfigError, "are not trained here"),
    "general rows": ({"train": {"general": {"path": "/nowhere/rows"}}}, InputError, "/nowhere/rows"),
    "general text": ({"evaluate": {"general": "/nowhere/text"}}, InputError, "no text at /nowhere/text"),
    "BERTScore": ({"evaluate": {"bertscore": "/nowhere/encoder"}}, MissingModelError, "/nowhere/encoder"),
    "template": ({"chat_template": "/nowhere/t.jinja"}, ConfigError, "cannot read /nowhere/t.jinja"),
}


@pytest.mark.parametrize("fault", SETTINGS)
def test_a_setting_that_cannot_be_is_a_sentence(base: Path, run: Run, fault: str) -> None:
    sections, error, sentence = SETTINGS[fault]
    with pytest.raises(error, match=sentence):
        check(project(base, **sections), run)


def test_the_layer_of_bertscore_exists(base: Path, run: Run) -> None:
    with pytest.raises(ConfigError, match="has 2 layers, no layer 3"):
        check(project(base, evaluate={"bertscore": str(base), "bertscore_layer": 3}), run)


def test_the_encoder_of_bertscore_is_whole(base: Path, good: Path, run: Run, tmp_path: Path) -> None:
    encoder = Path(shutil.copytree(good, tmp_path / "encoder"))
    settings = project(base, evaluate={"bertscore": str(encoder)})
    assert check(settings, run)
    point("model.safetensors")(encoder)
    with pytest.raises(MissingModelError, match=r"encoder/model\.safetensors is a pointer of git-lfs"):
        check(settings, run)
    without("model.safetensors")(encoder)
    with pytest.raises(MissingModelError, match=r"evaluate\.bertscore: .* has no weights"):
        check(settings, run)


def test_gguf_files_that_could_not_be_made_are_told(run: Run, tmp_path: Path) -> None:
    odd = build(tmp_path / "odd", "Llama", hidden_size=80, num_attention_heads=4, num_key_value_heads=2)
    check(project(odd), run)
    with pytest.raises(ConfigError, match="q8_0 needs rows of a multiple of 32"):
        check(project(odd, export={"gguf": ["q8_0"]}), run)


@pytest.mark.parametrize(("kind", "heeded"), [("Qwen3", True), ("Qwen2", False)])
def test_a_tokenizer_that_transformers_rewrites_is_refused(run: Run, tmp_path: Path, kind: str, heeded: bool) -> None:
    """Its `tokenizer.json` splits words as GPT-2 does; transformers reads it by Qwen2's rules."""
    folder = build(tmp_path / "model", kind, head_dim=32)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("tokenizer_class")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(
        ConfigError, match=rf"tokens of \".*its tokenizer\.json .*Qwen2Tokenizer.*{kind.lower()}"
    ) as told:
        check(project(folder), run)
    remedy = '"tokenizer_class": "PreTrainedTokenizerFast"'
    assert (remedy in str(told.value)) == heeded
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "tokenizer_class": "PreTrainedTokenizerFast"})
    )
    if heeded:
        assert check(project(folder), run)


def test_a_disk_that_is_too_small_is_told_in_gib(base: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(StorageError, match=r"needs 0\.0 GiB for checkpoints, .* has 0\.0 GiB free"):
        check(project(base), run)


def test_the_bytes_that_are_needed_are_those_of_the_shapes(base: Path, run: Run) -> None:
    adapter = 2 * 2 * ((64 + 64) + (64 + 32))  # r, layers, in and out of queries and of values
    model = (base / "model.safetensors").stat().st_size
    count = sum(tensor.numel() for tensor in load_file(base / "model.safetensors").values())

    def needed(quantise: str | None = None, **export: Any) -> int:
        train = {"lora": {"r": 2, "targets": "qv"}, "quantise": quantise}
        settings = project(base, train=train, export=export)
        return preflight.disk_bytes(settings, Base.of(settings), run)

    assert needed() == adapter * 80 + model
    assert needed("nf4") == adapter * 80 + 2 * model
    assert needed(dtype="float32") == adapter * 80 + 4 * count
    assert needed(gguf=["q8_0"]) == adapter * 80 + int(model + 2 * count + count * 34 / 32)
    run.commit(run.begin("export", "key"), {}, {})
    assert needed() == adapter * (80 + 36)


def test_the_job_checks_before_it_trains(base: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qlora, "train", lambda *_: pytest.fail("the training was started"))
    point("model.safetensors")(base)
    with pytest.raises(MissingModelError, match="git-lfs"):
        job.train(Job(project(base), run, (), Console(quiet=True)))


@pytest.mark.parametrize("fault", ["pointer, tokenizer", "bad template", "tokenizer cut", "other model"])
def test_a_plan_tells_what_needs_no_weights(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    without("model.safetensors")(base)
    (base.parent / "c.yaml").write_text(f"name: a\nbase_model: {base}\ntrain: {{max_length: 128}}\n")
    monkeypatch.setattr(sys, "argv", ["plan", str(base.parent / "c.yaml"), "--card", "24"])
    plan.main()
    BASES[fault][0](base)
    with pytest.raises(SystemExit) as ended:
        plan.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("plan: ")


def test_a_folder_of_a_configuration_alone_can_be_planned(good: Path, tmp_path: Path) -> None:
    shutil.copyfile(good / "config.json", tmp_path / "config.json")
    settings = project(tmp_path)
    preflight.cheap(settings, Base.of(settings))


def test_an_engine_that_does_not_serve_the_base_is_told_before_training(base: Path, run: Run) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "model_type": "gemma4_text"}))
    with pytest.raises(ConfigError, match=r"^serve.engine: hf has one kind of cache for all layers, and Gemma 4 needs"):
        check(project(base), run)
    other = project(base, serve={"engine": "gguf"})
    preflight._served(other, Base.of(other))
