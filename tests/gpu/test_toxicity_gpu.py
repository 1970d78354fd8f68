"""On a CUDA device: Detoxify's verdicts are those of the CPU, whatever the batch. Run by `make test-gpu`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.screen.toxicity.encoder import Encoder

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
ASSET = Path(__file__).parents[2] / "assets" / "toxicity-small"


def test_scores_equal_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        f"You stupid idiot number {n}, shut up!" if n % 3 == 0 else f"My card {n} was declined." for n in range(90)
    ]
    scorer = Encoder(str(ASSET), 4096)
    assert scorer._device == "cuda"
    found = scorer(texts)
    assert (found == Encoder(str(ASSET), 64)(texts[::-1])[::-1]).all()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert found == pytest.approx(Encoder(str(ASSET), 4096)(texts), abs=0.002)
