"""The most exact place that the memory allows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.models import memory


@pytest.mark.parametrize(
    ("gpu", "cpu", "wanted"),
    [
        (5.1, 0.0, ("cuda", torch.float32)),
        (4.9, 100.0, ("cuda", torch.bfloat16)),
        (2.9, 5.1, ("cpu", torch.float32)),
        (2.9, 4.9, ("cpu", torch.bfloat16)),
        (None, 5.1, ("cpu", torch.float32)),
        (None, 1.0, ("cpu", torch.bfloat16)),
    ],
)
def test_the_place(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, gpu: float | None, cpu: float, wanted: tuple[str, object]
) -> None:
    count = memory.parameters(tiny)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(count * ((gpu or 0.0) if device == "cuda" else cpu)))
    assert memory.choose_device(tiny) == wanted


def test_parameters_are_those_of_the_files(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    assert memory.parameters(tiny) == AutoModelForCausalLM.from_pretrained(tiny).num_parameters()
    assert 1 << 28 < memory.free_bytes("cpu") < 1 << 50
    assert memory.fits(tiny, 2)
