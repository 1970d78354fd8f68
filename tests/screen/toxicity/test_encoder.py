"""The encoder, layer by layer, for every kind of Detoxify model: the plain forward pass, with and without an exit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.screen import text_windows
from pipeline.screen.toxicity import encoder, weights
from pipeline.screen.toxicity.encoder import Encoder, ExitHead

ASSET = Path(__file__).parents[3] / "assets" / "toxicity-small"
TEXTS = [
    "You are a stupid idiot and a disgusting piece of trash, shut up!",
    "My card was declined twice yesterday, could you please have a look?",
    "",
    "Danke!",
    "Warum dauert das so lange? " * 4,
    "a long one " * 150,
    "no",
]
SIZES = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_hidden_layers": 6,
    "vocab_size": 16_000,
}


@pytest.fixture(params=["Bert", "Albert", "Roberta", "XLMRoberta"])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model of one of the architectures with random weights, which `Encoder` is made to load."""
    import torch
    import transformers

    torch.manual_seed(3)
    config = getattr(transformers, f"{request.param}Config")
    sizes: dict[str, Any] = SIZES | ({"embedding_size": 8, "num_hidden_groups": 2} if request.param == "Albert" else {})
    settings = config(**sizes, num_labels=2, pad_token_id=0, max_position_embeddings=130, initializer_range=0.5)
    classifier = getattr(transformers, f"{request.param}ForSequenceClassification")(settings).eval()
    detoxify = SimpleNamespace(
        model=classifier, tokenizer=weights.load(str(ASSET), "cpu").tokenizer, class_names=["other", "toxicity"]
    )
    monkeypatch.setattr(encoder, "load", lambda name, device: detoxify)
    return detoxify


def plain(model: Any, ids: list[int]) -> tuple[float, list[Any]]:
    """Returns the score of one window by the model's own forward pass, and its hidden states."""
    import torch

    with torch.inference_mode():
        out = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return float(torch.sigmoid(out.logits[0, 1])), [states[0] for states in out.hidden_states]


def head(model: Any, cut: float) -> ExitHead:
    size = model.model.config.hidden_size
    return ExitHead(2, np.random.default_rng(1).normal(size=3 * size).astype(np.float32), 0.25, cut)


@pytest.mark.parametrize("budget", [1, 300, 100_000])
def test_layer_by_layer_is_the_plain_forward_pass(model: Any, budget: int) -> None:
    encoded = Encoder("any", budget)
    windows, owners = encoded._windows(TEXTS)
    expected = np.zeros(len(TEXTS))
    np.maximum.at(expected, owners, [plain(model, ids)[0] for ids in windows])
    assert encoded(TEXTS) == pytest.approx(expected, abs=0.0011)
    assert len(windows) > len(TEXTS)  # the long one has several
    assert np.ptp(expected) > 0.1


def test_features_are_those_of_the_hidden_states(model: Any) -> None:
    import torch

    encoded = Encoder("any", 300)
    features, owners = encoded.features(TEXTS, 2)
    windows, same = encoded._windows(TEXTS)
    assert (owners == same).all()
    for ids, row in zip(windows, features, strict=True):
        states = plain(model, ids)[1][2]
        assert row == pytest.approx(torch.cat((states[0], states.mean(0), states.amax(0))).numpy(), abs=0.01)


@pytest.mark.parametrize("budget", [1, 300, 100_000])
def test_what_does_not_leave_early_has_the_score_of_the_whole_model(model: Any, budget: int) -> None:
    encoded = Encoder("any", budget)
    scores, odds = encoded.score(TEXTS, head(model, -np.inf))
    assert scores == pytest.approx(encoded(TEXTS), abs=0.0011)
    assert np.isnan(odds).tolist() == [not text for text in TEXTS]
    middle = float(np.nanmedian(odds))
    some, again = encoded.score(TEXTS, head(model, middle))
    assert again == pytest.approx(odds, abs=0.002, nan_ok=True)
    stayed = odds > middle + 0.01
    stayed[5] = False  # the long one: some of its windows may have left
    assert stayed.sum() >= 2
    assert some[stayed] == pytest.approx(scores[stayed], abs=0.0011)
    assert np.isnan(some[odds < middle - 0.01]).all()
    assert some[2] == 0.0


def test_leaving_early_pays_for_deep_models_only(tmp_path: Path) -> None:
    assert encoder.early_exit_pays("multilingual")
    assert not encoder.early_exit_pays(str(ASSET))
    assert not encoder.early_exit_pays(str(tmp_path))
    for layers, pays in ((12, True), (2, False)):
        (tmp_path / "config.json").write_text(f'{{"hidden_size": 768, "num_hidden_layers": {layers}}}')
        assert encoder.early_exit_pays(str(tmp_path)) is pays


def test_batches_hold_the_budget_and_at_least_one_row() -> None:
    assert list(text_windows.split([], 10, 10)) == []
    assert list(text_windows.split([2, 2, 5, 5, 40], 10, 10)) == [(0, 2), (2, 4), (4, 5)]


def test_a_batch_that_is_large_enough_ends_before_longer_rows() -> None:
    assert list(text_windows.split([10, 10, 11, 12, 13, 13], 100, 30)) == [(0, 4), (4, 6)]
    assert list(text_windows.split([10, 13, 13], 100, 30)) == [(0, 3)]  # 2 rows are too few
    assert list(text_windows.split([10, 10, 10, 10, 13], 100, 100)) == [(0, 5)]


def test_large_models_run_in_bfloat16_and_small_ones_in_float32() -> None:
    assert encoder._weights(12, 768) >= encoder.LARGE > encoder._weights(2, 128)


def test_odds_in_chunks_are_the_odds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(10, 6)).astype(np.float16)
    exit_head = ExitHead(1, rng.normal(size=6).astype(np.float32), 0.25, 0.0)
    whole = exit_head.odds(features)
    assert whole == pytest.approx(features.astype(np.float64) @ exit_head.weights.astype(np.float64) + 0.25, abs=6e-4)
    monkeypatch.setattr(encoder, "CHUNK", 3)
    assert exit_head.odds(features).tolist() == whole.tolist()
    assert exit_head.odds(features[:0]).shape == (0,)
