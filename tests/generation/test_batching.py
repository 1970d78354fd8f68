"""Which versions of transformers are known, and how large the cache of a batch is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.generation import Prompts, batching, continuous, limits
from pipeline.models import load


def test_this_version_of_transformers_is_known() -> None:
    assert batching.known_transformers(), (
        "run tests/generation, tests/serve_app/engines (and tests/gpu on a card) with this version, then raise "
        "batching.NEWEST"
    )


@pytest.mark.parametrize("other", ["5.16.2", "5.24.0.dev0", "6.0.0rc1"])
def test_another_version_of_transformers_is_unknown(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "version", lambda package: other)
    assert not batching.known_transformers()


def test_the_cache_is_bounded_by_the_memory_that_is_free(make_project: Callable[..., Any]) -> None:
    model, _ = load.Base.of(make_project()).load()
    token = limits.token_bytes(model)
    assert token == 2 * 2 * 2 * 16 * 4  # keys and values, 2 layers, 2 heads of 16 float32
    needs = [10, 620, *[30] * 300]
    assert limits.fitting(model, needs, 128, 1e12) == limits.Limits(128, 128, 621)
    assert limits.fitting(model, needs, 128, 4.5 * 621 * token) == limits.Limits(4, 4, 621)
    assert limits.fitting(model, needs, 128, 0) == limits.Limits(1, 1, 621)
    assert limits.whole(model, 620, 128) == limits.Limits(128, 128, 621)
    asked = Prompts([[1] * 600, *[[1] * 10] * 20], [2], 0, 20)
    assert sorted(dict(continuous.answers(model, asked, int(12 * 621 * token)))) == list(range(21))
