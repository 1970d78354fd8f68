"""The early exit: the share of the positives that go on, the texts scored for it, and when it is not worth it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.screen.toxicity import early_exit
from pipeline.screen.toxicity.early_exit import EarlyExit, calibrate, digest

SIZE = 24


class Model:
    """Scores texts that are numbers by a hidden direction; its first layers see that direction through noise, the less
    the deeper, and its embeddings hardly at all."""

    depth = 12

    def __init__(self, texts: int, toxic: float, noise: float) -> None:
        rng = np.random.default_rng(7)
        self.odds = rng.normal(-6.0, 1.0, texts)
        bad = rng.random(texts) < toxic
        self.odds[bad] = rng.normal(3.5, 0.5, int(bad.sum()))
        self.rest, self.noise = rng.normal(0, 1, (texts, SIZE)), noise * rng.normal(0, 1, texts)
        self.scored = 0

    def texts(self) -> list[str]:
        return [str(number) for number in range(len(self.odds))]

    def hidden(self, depth: int) -> np.ndarray:
        states = self.rest.copy()
        states[:, 3] = self.odds / 3 + self.noise * (1.5 if depth == 0 else 1 / depth)
        return states.astype(np.float16)

    def scores(self) -> np.ndarray:
        return np.round(1 / (1 + np.exp(-self.odds)), 3).astype(np.float32)

    def score_with_features(self, texts: Sequence[str], depths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        self.scored += len(texts)
        rows = [int(text) for text in texts]
        return self.scores()[rows], np.stack([self.hidden(depth)[rows] for depth in depths])

    def features(self, texts: Sequence[str], depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Two windows of every hundredth text, alike."""
        numbers = [int(text) for text in texts]
        twice = [position for position, number in enumerate(numbers) if number % 100 == 0]
        states = self.hidden(depth)[numbers]
        return np.vstack((states, states[twice])), np.array([*range(len(texts)), *twice])

    def bad(self) -> np.ndarray:
        return self.scores() >= np.float32(0.9)


@pytest.fixture(scope="module")
def fitted() -> tuple[EarlyExit, Model]:
    model = Model(4_000, 0.02, 0.3)
    early = calibrate(model.texts(), model, 0.9, 0.99)
    assert early is not None
    return early, model


def test_it_lets_the_positives_go_on_and_little_else(fitted: tuple[EarlyExit, Model]) -> None:
    fresh = Model(20_000, 0.02, 0.3)
    on = fitted[0].head.odds(fresh.hidden(fitted[0].head.depth)) >= fitted[0].head.cut
    assert on[fresh.bad()].mean() >= 0.99
    assert on.mean() < 0.1


def test_it_goes_as_deep_as_it_pays() -> None:
    depths = []
    for noise in (0.01, 1.0, 1.8):  # the last needs a third of the layers
        model = Model(2_000, 0.04, noise)
        early = calibrate(model.texts(), model, 0.9, 0.99)
        assert early is not None
        depths.append(early.head.depth)
    assert depths == sorted(depths)
    assert depths[0] == 0 < depths[-1]


def test_few_texts_are_scored_in_full_and_the_rest_keep_their_odds(fitted: tuple[EarlyExit, Model]) -> None:
    early, model = fitted
    assert len(early.cache) == 4_000
    assert early.scored == model.scored < 1_200
    for text in model.texts():
        odds, score = early.cache[digest(text)]
        assert not np.isnan(score) or odds < early.head.cut
    assert early.toxic == sum(score >= 0.9 for _, score in early.cache.values())


def test_the_same_texts_give_the_same_bytes(fitted: tuple[EarlyExit, Model]) -> None:
    again = calibrate(fitted[1].texts(), Model(4_000, 0.02, 0.3), 0.9, 0.99)
    assert again is not None
    assert again.to_bytes() == fitted[0].to_bytes()
    assert EarlyExit.from_bytes(fitted[0].to_bytes()).to_bytes() == fitted[0].to_bytes()


def test_where_nothing_is_toxic_the_most_suspicious_set_the_cut() -> None:
    model = Model(3_000, 0.0, 0.3)
    early = calibrate(model.texts(), model, 0.9, 0.99)
    assert early is not None
    assert early.toxic == 0
    assert early.positives == early_exit.MIN_POSITIVES
    assert early.head.cut < np.log(9)


def test_a_model_whose_first_layers_tell_nothing_scores_every_text() -> None:
    model = Model(3_000, 0.1, 1e4)
    assert calibrate(model.texts(), model, 0.9, 0.99) is None


def test_a_few_texts_are_all_scored() -> None:
    model = Model(150, 0.1, 0.3)
    assert calibrate(model.texts(), model, 0.9, 0.99) is None or model.scored <= 150


def test_leave_one_out_is_what_fitting_without_the_text_says() -> None:
    model = Model(400, 0.1, 0.3)
    pool = early_exit._Pool(model.texts(), model, 0.9)
    pool.score(np.arange(60))
    fit = pool.fit()
    other = early_exit._Pool(model.texts(), model, 0.9)
    other.score(np.delete(np.arange(60), 5))
    assert other.predict(other.fit())[5] == pytest.approx(fit.left_out[5], abs=0.3)
    assert abs(fit.left_out[5] - pool.predict(fit)[5]) > 0
