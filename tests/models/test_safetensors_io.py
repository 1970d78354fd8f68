"""A model folder's weights: one that is not finite is told, whatever its type and wherever it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import MissingModelError
from pipeline.models import safetensors_io


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float8_e5m2])
def test_a_weight_that_is_not_finite_is_told_by_its_tensor(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    weights = {"a.weight": torch.randn(70, 50).to(dtype), "b.weight": torch.randn(70, 50), "ids": torch.arange(3)}
    save_file(weights, tmp_path / "model.safetensors")
    safetensors_io.require_finite(tmp_path)
    damaged = weights["a.weight"].float()
    damaged[33, 17] = value
    save_file({**weights, "a.weight": damaged.to(dtype)}, tmp_path / "model.safetensors")
    with pytest.raises(MissingModelError, match=r"is damaged: a\.weight holds NaN or infinite numbers; download"):
        safetensors_io.require_finite(tmp_path)


def test_large_weights_and_empty_tensors_are_no_damage(tmp_path: Path) -> None:
    weights = {"a": torch.full((9,), 6e4, dtype=torch.float16), "b": torch.full((9,), 3e38), "c": torch.zeros(0, 4)}
    save_file(weights, tmp_path / "model.safetensors")
    safetensors_io.require_finite(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a pointer of git-lfs"),
        (b"\0" * 64, "is no safetensors file"),
    ],
)
def test_a_file_that_holds_no_weights_is_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(MissingModelError, match=rf"model\.safetensors {sentence}"):
        safetensors_io.require_finite(tmp_path)
