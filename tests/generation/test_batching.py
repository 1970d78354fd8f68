"""Which versions of transformers are known, and what a batch leaves behind."""

from __future__ import annotations

import pytest

from pipeline.generation import batching


def test_this_version_of_transformers_is_known() -> None:
    assert batching.known_transformers(), (
        "run tests/generation, tests/serve_app/engines (and tests/gpu on a card) with this version, then raise "
        "batching.NEWEST"
    )


@pytest.mark.parametrize("other", ["5.16.2", "5.24.0.dev0", "6.0.0rc1"])
def test_another_version_of_transformers_is_unknown(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "version", lambda package: other)
    assert not batching.known_transformers()
