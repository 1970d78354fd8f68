"""The planner against measurements, and against itself: what fits, what is chosen, what a licence says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Lora
from pipeline.errors import ConfigError, MissingModelError
from pipeline.plan import catalogue, cost_model

MISTRAL = next(preset for preset in catalogue.PRESETS if preset.name == "Zephyr-7B").shape
ALL, QV = Lora(dropout=0.0), Lora(targets="qv", dropout=0.0)
MEASURED = [  # one H200, random Mistral-7B, NF4 with double quantisation, r 16, no dropout, bf16 autocast, packed rows
    (cost_model.PLAIN, ALL, 8192, 0, 42.0, 15539),  # the layers of peft and transformers, liger's norms; GiB allocated
    (cost_model.PLAIN, ALL, 8192, 16, 24.5, 12612),  # every second layer
    (cost_model.PLAIN, ALL, 8192, 32, 8.0, 10599),
    (cost_model.PLAIN, ALL, 16384, 32, 11.6, 10850),
    (cost_model.PLAIN, QV, 16384, 0, 69.0, 18408),
    (cost_model.PLAIN, QV, 4096, 0, 20.4, 16919),
    (cost_model.FUSED, QV, 16384, 0, 52.0, 19379),  # `fused`; GiB reserved
    (cost_model.FUSED, ALL, 16384, 0, 53.0, 17400),
    (cost_model.FUSED, QV, 6144, 0, 22.0, 18434),
    (cost_model.FUSED, ALL, 6144, 0, 23.0, 16853),
]


@pytest.mark.parametrize(("m", "lora", "tokens", "depth", "gib", "speed"), MEASURED)
def test_what_was_measured_is_predicted(
    m: cost_model.Coefficients, lora: Lora, tokens: int, depth: int, gib: float, speed: float
) -> None:
    found = cost_model.assess(MISTRAL, lora, catalogue.card("H200"), tokens, depth, m=m)
    assert found.gib == pytest.approx(gib, rel=0.05)
    assert found.tokens_per_second == pytest.approx(speed, rel=0.03)


def test_the_shapes_have_the_parameters_of_the_models() -> None:
    found = {preset.name: round(preset.shape.parameters / 1e9, 2) for preset in catalogue.PRESETS}
    assert found == {
        "Mistral-7B": 7.25,
        "Zephyr-7B": 7.24,
        "CodeLlama-7B-Python": 6.74,
        "SOLAR-10.7B": 10.73,
        "SOLAR-10.7B-Instruct": 10.73,
        "Llama-3.1-8B": 8.03,
        "Qwen3-8B": 8.19,
        "Qwen3-14B": 14.77,
    }
    assert cost_model.trainable(MISTRAL, ALL) == 41_943_040  # what peft says of r 16 on Mistral-7B
    assert cost_model.trainable(MISTRAL, QV) == 6_815_744


@pytest.mark.parametrize("size", catalogue.SIZES)
@pytest.mark.parametrize("preset", catalogue.PRESETS, ids=lambda preset: preset.name)
def test_a_plan_fits_and_the_next_faster_does_not(preset: catalogue.Preset, size: str) -> None:
    card = catalogue.card(size)
    found = cost_model.choose(preset.shape, ALL, card, 2048)
    assert found is not None
    assert 2048 <= found.pack_tokens <= 16384
    assert found.total_gib <= card.gib
    for tokens in (found.pack_tokens, *cost_model.SIZES[cost_model.SIZES.index(found.pack_tokens) :]):
        if tokens > 2048 and found.recompute:
            less = cost_model.assess(preset.shape, ALL, card, tokens, found.recompute - 1)
            assert less.total_gib > card.gib or less.tokens_per_second <= found.tokens_per_second


def test_more_memory_recomputes_less() -> None:
    h200 = catalogue.card("H200")
    caps = [cost_model.choose(MISTRAL, ALL, replace(h200, gib=gib), 2048, 8192) for gib in (9.2, 14.0, 22.0, 60.0)]
    depths = [found.recompute for found in caps if found]
    assert depths == sorted(depths, reverse=True)
    assert depths[-1] == 0
    assert len(set(depths)) == 4
    assert cost_model.choose(MISTRAL, ALL, replace(h200, gib=4.0), 2048) is None


def test_what_is_given_is_not_chosen() -> None:
    found = cost_model.choose(MISTRAL, ALL, catalogue.card("24"), 2048, pack_tokens=4096, recompute=20)
    assert found is not None
    assert (found.pack_tokens, found.recompute) == (4096, 20)
    long = cost_model.choose(MISTRAL, ALL, catalogue.card("H200"), 20_000)
    assert long is not None
    assert long.pack_tokens == 20_000


def test_every_choice_costs_what_it_should() -> None:
    card, plain = catalogue.card("4090"), cost_model.PLAIN
    base = cost_model.assess(MISTRAL, QV, card, 4096, 0, m=plain)
    for more in (
        cost_model.assess(MISTRAL, ALL, card, 4096, 0, m=plain),
        cost_model.assess(MISTRAL, Lora(targets="qv", dropout=0.1), card, 4096, 0, m=plain),
        cost_model.assess(MISTRAL, QV, card, 8192, 0, m=plain),
        cost_model.assess(MISTRAL, QV, card, 4096, 0, quantise=None, m=plain),
        cost_model.assess(
            MISTRAL, Lora(targets=("q_proj", "v_proj", "down_proj"), dropout=0.0), card, 4096, 0, m=plain
        ),
    ):
        assert more.gib > base.gib
    assert cost_model.assess(MISTRAL, QV, card, 4096, 10, m=plain).gib < base.gib
    assert cost_model.assess(MISTRAL, QV, card, 4096, 10, m=plain).tokens_per_second < base.tokens_per_second
    fused = cost_model.assess(MISTRAL, QV, card, 4096, 0)
    assert fused.gib < base.gib
    assert fused.tokens_per_second > base.tokens_per_second
    assert cost_model.coefficients(Lora(dropout=0.05)) == cost_model.coefficients(Lora(dropout=0.0, dora=True)) == plain


def test_cards_go_by_name_size_and_what_the_driver_says() -> None:
    assert catalogue.card("4090") == catalogue.card("24") == catalogue.card("RTX 4090")
    assert catalogue.card("h100").name == "H100"
    with pytest.raises(ConfigError, match="no card 12"):
        catalogue.card("12")
    names = {
        ("NVIDIA H100 80GB HBM3", 79.2): "H100",
        ("NVIDIA H200", 139.8): "H200",
        ("NVIDIA GeForce RTX 4090", 23.6): "RTX 4090",
        ("NVIDIA A100-SXM4-40GB", 39.5): "A100-40",
        ("NVIDIA A100-SXM4-80GB", 79.2): "A100-80",
        ("NVIDIA L4", 22.2): "L4",
    }
    for (name, gib), expected in names.items():
        found = catalogue.card_of(name, gib)
        assert (found.name, found.gib, found.assumed) == (expected, gib, None)
    unknown = catalogue.card_of("NVIDIA Quadro GV100", 31.7)
    assert (unknown.name, unknown.gib, unknown.assumed) == ("NVIDIA Quadro GV100", 31.7, "RTX 5090")
    assert catalogue.card_of("NVIDIA T4", 14.6).assumed == "RTX 4080"


def test_a_shape_comes_from_the_folder_the_table_or_not_at_all(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = catalogue.shape_of(str(tiny))
    assert shape is not None
    assert (shape.hidden, shape.layers, shape.kv_heads, shape.head_dim, shape.tied) == (64, 2, 2, 16, True)
    assert catalogue.shape_of("qwen/qwen3-8b") == next(p for p in catalogue.PRESETS if p.name == "Qwen3-8B").shape
    with pytest.raises(MissingModelError, match=r"no config\.json of solotune-tests/none"):
        catalogue.shape_of("solotune-tests/none")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 768}))
    assert catalogue.shape_of(str(tmp_path)) is None
    nested = {"text_config": json.loads((tiny / "config.json").read_text())}
    (tmp_path / "config.json").write_text(json.dumps(nested))
    assert catalogue.shape_of(str(tmp_path)) == shape


def test_the_planner_counts_parameters_as_the_model_does(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    shape = catalogue.shape_of(str(tiny))
    assert shape is not None
    assert shape.parameters == AutoModelForCausalLM.from_pretrained(tiny).num_parameters()


def test_licences_that_stand_in_the_way_are_said() -> None:
    said: dict[str, Any] = {preset.name: " ".join(preset.warnings) for preset in catalogue.PRESETS}
    assert "NOT for commercial use" in said["SOLAR-10.7B-Instruct"]
    assert "gated" in said["Llama-3.1-8B"]
    assert "more than 13 B" in said["Qwen3-14B"]
    assert [name for name, text in said.items() if not text] == ["Mistral-7B", "Zephyr-7B", "Qwen3-8B"]
