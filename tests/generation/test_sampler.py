"""Draws by seed: they follow the softmax, and their random numbers are uniform."""

from __future__ import annotations

import torch

from pipeline.generation.sampler import GREEDY, Draw, mix, uniform


def test_draws_follow_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, float("-inf")])
    seeds = torch.tensor([mix(11, position) for position in range(20_000)], dtype=torch.int32)
    drawn = Draw()(logits.repeat(len(seeds), 1), seeds).argmax(dim=1)
    expected = logits.softmax(0)[:4] * len(seeds)
    counts = torch.bincount(drawn, minlength=5)
    assert counts[4] == 0
    assert float(((counts[:4] - expected) ** 2 / expected).sum()) < 16.3  # chi-square, 3 degrees, p = 0.001


def test_uniform_numbers_are_uniform_and_strictly_inside() -> None:
    numbers = uniform(torch.tensor([1, 2, 2**31 - 1], dtype=torch.int32), 50_000)
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert abs(float(numbers.mean()) - 0.5) < 0.004
    assert abs(float(torch.corrcoef(numbers)[0, 1])) < 0.02
    assert abs(float(torch.corrcoef(torch.stack([numbers[0, 1:], numbers[0, :-1]]))[0, 1])) < 0.02
    assert mix(3, 4) != mix(3, 5) != GREEDY
