"""The planner against measurements, and against itself: what fits, what is chosen, what a licence says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config import Lora, Train
from pipeline.errors import ConfigError, MissingModelError
from pipeline.plan import cards, catalogue, cost_model, from_settings
from pipeline.plan.presets import PRESETS, Preset
from pipeline.plan.shape import Layers

SHAPES = {preset.name: preset.shape for preset in PRESETS}
MISTRAL = SHAPES["Zephyr-7B"]
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
    found = cost_model.assess(MISTRAL, lora, cards.card("H200"), tokens, depth, m=m)
    assert found.gib == pytest.approx(gib, rel=0.05)
    assert found.tokens_per_second == pytest.approx(speed, rel=0.03)


@pytest.mark.parametrize(
    ("name", "speed"), [("SmolLM2-135M", 221709), ("SmolLM2-360M", 134177), ("SmolLM2-1.7B", 56357)]
)  # H200, fused, all-linear, rows of 16,384: a CUDA graph each
def test_small_bases_are_planned_at_the_speed_of_their_graphs(name: str, speed: float) -> None:
    found = cost_model.assess(SHAPES[name], ALL, cards.card("H200"), 16384, 0)
    assert found.tokens_per_second == pytest.approx(speed, rel=0.15)
    recomputed = cost_model.assess(SHAPES[name], ALL, cards.card("H200"), 16384, 1)
    assert recomputed.tokens_per_second < found.tokens_per_second  # no graph: the host starts every kernel


@pytest.mark.parametrize(
    ("name", "lora", "tokens", "compute", "gib", "speed"),
    [  # one H200, one run: random weights in NF4, FP8 in all layers; GiB reserved
        ("Zephyr-7B", QV, 16384, "fp8_held", 64.5, 30285),
        ("Zephyr-7B", ALL, 16384, "fp8_held", 65.3, 25181),
        ("Zephyr-7B", QV, 6144, "fp8", 22.8, 27922),
        ("Zephyr-7B", ALL, 6144, "fp8", 23.7, 23869),
        ("SOLAR-10.7B", ALL, 3072, "fp8", 21.3, 14673),
    ],
)
def test_fp8_is_planned_at_the_speed_that_came(
    name: str, lora: Lora, tokens: int, compute: cost_model.Compute, gib: float, speed: float
) -> None:
    found = cost_model.assess(SHAPES[name], lora, cards.card("H200"), tokens, 0, compute=compute)
    assert found.total_gib == pytest.approx(gib, rel=0.05)
    assert found.tokens_per_second == pytest.approx(speed, rel=0.05)
    assert found.graph == (compute == "fp8")


def test_a_row_is_a_graph_where_the_host_is_slower_than_the_card() -> None:
    solar, card = SHAPES["SOLAR-10.7B"], cards.card("H200")
    dora = Lora(dora=True)
    found = cost_model.assess(solar, dora, card, 3072, 0)
    twice = cost_model.assess(solar, dora, replace(card, peak=1e18), 3072, 0)
    assert not found.graph
    assert not twice.graph
    assert twice.tokens_per_second == found.tokens_per_second  # the host's
    captured = cost_model.assess(solar, ALL, card, 3072, 0)
    assert captured.graph
    deeper = cost_model.assess(solar, ALL, card, 3072, solar.layers)
    assert not deeper.graph  # recomputing is not captured
    assert not cost_model.assess(MISTRAL, ALL, card, 16384, 0).graph  # long rows hide their launches


def test_fp8_is_taken_where_card_base_and_recipe_have_it() -> None:
    h200, a100 = cards.card("H200"), cards.card("80")
    small = SHAPES["SmolLM2-1.7B"]
    every = ("fp8_held", "fp8", "bf16")
    assert from_settings.computes(Train(), MISTRAL, h200) == every
    assert from_settings.computes(Train(), MISTRAL, cards.card("4090")) == every
    assert from_settings.computes(Train(quantise=None), MISTRAL, h200) == ("fp8_held", "bf16")
    for settings, shape, card in (
        (Train(), MISTRAL, a100),
        (Train(), small, h200),
        (Train(compute="bf16"), MISTRAL, h200),
        (Train(lora=Lora(dropout=0.1)), MISTRAL, h200),
    ):
        assert from_settings.computes(settings, shape, card) == ("bf16",)
    assert from_settings.computes(Train(compute="fp8"), small, h200) == ("fp8_held", "fp8")
    with pytest.raises(ConfigError, match=r"A100-80 does not multiply in FP8: set it to `auto` or `bf16`"):
        from_settings.computes(Train(compute="fp8"), MISTRAL, a100)
    with pytest.raises(ValidationError, match=r"compute: fp8 takes no lora.dropout"):
        Train(compute="fp8", lora=Lora(dora=True))


def test_weights_are_held_where_there_is_room() -> None:
    roomy, tight = (from_settings.best(Train(), MISTRAL, cards.card(name)) for name in ("H200", "4090"))
    assert roomy is not None
    assert tight is not None
    assert (roomy.compute, tight.compute) == ("fp8_held", "fp8")


def test_the_smallest_base_is_planned_at_the_speed_that_came() -> None:
    found = cost_model.choose(SHAPES["SmolLM2-135M"], ALL, cards.card("H200"), 2048)
    assert found is not None
    assert found.tokens_per_second == pytest.approx(221709, rel=0.15)  # it once promised 486,834
    assert found.mfu < 0.2


def test_adapters_are_counted_as_peft_does() -> None:
    assert cost_model.trainable(MISTRAL, ALL) == 41_943_040  # what peft says of r 16 on Mistral-7B
    assert cost_model.trainable(MISTRAL, QV) == 6_815_744


def test_every_kind_of_layer_counts_for_its_share() -> None:
    shape = SHAPES["Qwen3.5-4B"]
    nets, attentions = shape.kinds
    assert (nets.count, attentions.count) == (24, 8)
    per_layer = 16 * (sum(attentions.matrices["q_proj"]) + sum(attentions.matrices["v_proj"]))
    assert cost_model.trainable(shape, QV) == 8 * per_layer
    one = replace(shape, kinds=(replace(attentions, count=32),))
    other = replace(shape, kinds=(Layers(32, nets.mixer, nets.mlp, nets.others),))
    bytes_of = [cost_model.layer_bytes(each, ALL, cost_model.PLAIN) for each in (other, one, shape)]
    assert bytes_of[2] == pytest.approx((24 * bytes_of[0] + 8 * bytes_of[1]) / 32)


@pytest.mark.parametrize("size", cards.SIZES)
@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_plan_fits_and_the_next_faster_does_not(preset: Preset, size: str) -> None:
    card = cards.card(size)
    found = cost_model.choose(preset.shape, ALL, card, 2048)
    if found is None:
        assert cost_model.assess(preset.shape, ALL, card, 2048, preset.shape.layers).total_gib > card.gib
        assert preset.shape.parameters > 30e9
        return
    assert 2048 <= found.pack_tokens <= 16384
    assert found.total_gib <= card.gib
    for tokens in (found.pack_tokens, *cost_model.SIZES[cost_model.SIZES.index(found.pack_tokens) :]):
        if tokens > 2048 and found.recompute:
            less = cost_model.assess(preset.shape, ALL, card, tokens, found.recompute - 1)
            assert less.total_gib > card.gib or less.tokens_per_second <= found.tokens_per_second


def test_more_memory_recomputes_less() -> None:
    h200 = cards.card("H200")
    caps = [cost_model.choose(MISTRAL, ALL, replace(h200, gib=gib), 2048, 8192) for gib in (9.2, 14.0, 22.0, 60.0)]
    depths = [found.recompute for found in caps if found]
    assert depths == sorted(depths, reverse=True)
    assert depths[-1] == 0
    assert len(set(depths)) == 4
    assert cost_model.choose(MISTRAL, ALL, replace(h200, gib=4.0), 2048) is None


def test_what_is_given_is_not_chosen() -> None:
    found = cost_model.choose(MISTRAL, ALL, cards.card("24"), 2048, pack_tokens=4096, recompute=20)
    assert found is not None
    assert (found.pack_tokens, found.recompute) == (4096, 20)
    long = cost_model.choose(MISTRAL, ALL, cards.card("H200"), 20_000)
    assert long is not None
    assert long.pack_tokens == 20_000


def test_every_choice_costs_what_it_should() -> None:
    card, plain = cards.card("4090"), cost_model.PLAIN
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
    assert cards.card("4090") == cards.card("24") == cards.card("RTX 4090")
    assert cards.card("h100").name == "H100"
    with pytest.raises(ConfigError, match="no card 12"):
        cards.card("12")
    names = {
        ("NVIDIA H100 80GB HBM3", 79.2): "H100",
        ("NVIDIA H200", 139.8): "H200",
        ("NVIDIA GeForce RTX 4090", 23.6): "RTX 4090",
        ("NVIDIA A100-SXM4-40GB", 39.5): "A100-40",
        ("NVIDIA A100-SXM4-80GB", 79.2): "A100-80",
        ("NVIDIA L4", 22.2): "L4",
    }
    for (name, gib), expected in names.items():
        found = cards.card_of(name, gib)
        assert (found.name, found.gib, found.assumed) == (expected, gib, None)
    unknown = cards.card_of("NVIDIA Quadro GV100", 31.7)
    assert (unknown.name, unknown.gib, unknown.assumed) == ("NVIDIA Quadro GV100", 31.7, "RTX 5090")
    assert cards.card_of("NVIDIA T4", 14.6).assumed == "RTX 4080"


def test_a_shape_comes_from_the_folder_the_table_or_not_at_all(tiny: Path, tmp_path: Path) -> None:
    shape = catalogue.shape_of(str(tiny))
    ((layers, matrices),) = [(kind.count, kind.matrices) for kind in shape.kinds]
    assert (shape.hidden, layers, matrices["k_proj"], shape.tied) == (64, 2, (32, 64), True)
    assert catalogue.shape_of("qwen/qwen3-8b") == SHAPES["Qwen3-8B"]
    with pytest.raises(MissingModelError, match=r"no config\.json of solotune-tests/none"):
        catalogue.shape_of("solotune-tests/none")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 768}))
    with pytest.raises(ConfigError, match="absolute positions"):
        catalogue.shape_of(str(tmp_path))
    nested = {"model_type": "mistral3", "text_config": json.loads((tiny / "config.json").read_text())}
    (tmp_path / "config.json").write_text(json.dumps(nested))
    assert catalogue.shape_of(str(tmp_path)) == shape
    for text in ("{", "[1]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ConfigError, match="no JSON"):
            catalogue.shape_of(str(tmp_path))


def test_licences_that_stand_in_the_way_are_said() -> None:
    said: dict[str, Any] = {preset.name: " ".join(preset.warnings) for preset in PRESETS}
    assert "NOT for commercial use" in said["SOLAR-10.7B-Instruct"]
    assert {name for name, text in said.items() if "gated" in text} == {
        "Llama-3.1-8B",
        *(f"Gemma-3-{size}" for size in ("1B", "4B", "12B")),
    }
    assert {name for name, text in said.items() if "more than 13 B" in text} == {
        "Qwen3-14B",
        "Gemma-4-31B",
        "Ministral-3-14B",
    }
    assert "no pictures" in said["Qwen3.5-4B"]
    assert "BF16" in said["Ministral-3-8B"]
    assert said["Mistral-7B"] == said["SmolLM3-3B"] == said["Phi-4-mini"] == ""
