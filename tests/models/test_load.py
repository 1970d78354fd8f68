"""Loading: what is quantised, and what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, MissingModelError, MissingStageError
from pipeline.models import load
from pipeline.plan import catalogue
from pipeline.run import Run


def test_nf4_holds_the_linear_layers_and_nothing_else(tiny: Path, make_project: Any) -> None:
    causal, tokenizer = load.Base.of(make_project(), str(tiny)).load("nf4")
    kinds = {name: type(module).__name__ for name, module in causal.named_modules()}
    assert {kind for name, kind in kinds.items() if name.endswith("_proj")} == {"Linear4bit"}
    assert kinds["lm_head"] == "Linear"
    state = causal.model.layers[0].self_attn.q_proj.weight.quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)
    assert not causal.training
    assert tokenizer.pad_token == "<pad>"


def test_missing_weights_are_a_sentence(tmp_path: Path, make_project: Any) -> None:
    for name in (str(tmp_path / "none"), "./none"):
        with pytest.raises(MissingModelError, match="no model folder at"):
            load.find_folder(name)
    with pytest.raises(MissingModelError, match="not in this machine's cache"):
        load.find_folder("solotune-tests/no-such-model")
    with pytest.raises(
        MissingModelError, match=r"models/of/mine is no folder, seen from the configuration file, and no"
    ):
        load.find_folder("models/of/mine")
    with pytest.raises(MissingModelError, match=r"config\.json is missing"):
        load.Base.of(make_project(base=tmp_path), str(tmp_path)).load()


def test_a_hub_name_is_no_folder_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "solotune-tests/none").mkdir(parents=True)
    (tmp_path / "solotune-tests/none/config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingModelError, match="seen from the configuration file there is no such folder either"):
        load.find_folder("solotune-tests/none")
    assert catalogue.folder_of("solotune-tests/none") is None


def test_a_folder_that_holds_something_else_is_a_sentence(tmp_path: Path, tiny: Path, make_project: Any) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load.Base.of(make_project(base=broken), str(broken)).load()


def test_there_is_no_adapter_before_training(curated: Run) -> None:
    with pytest.raises(MissingStageError, match=r"jobs\.train"):
        load.attach(None, curated.local(load.ADAPTER))


def test_weights_that_lack_tensors_are_a_sentence(tiny: Path, tmp_path: Path, make_project: Any) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    tensors = load_file(broken / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 tensors .* such as model\.layers\.1\.mlp\.up_proj"):
        load.Base.of(make_project(base=broken)).load()
