"""What a training does when the accelerator's memory runs out: it takes more frugal settings and repeats the step.

Output contract: an `OomFallback` starts with the settings chosen and steps down to more recomputed layers, a quarter of
the model at a time, then to smaller micro-batches: packed rows cut between examples into pieces of at most a half, a
quarter, ... of the row's capacity. The loss of a row is the sum over its examples, so the gradients of its pieces add
up to its own, and no row and no step is lost. The level reached is a number, which goes into the checkpoint.
This module allocates nothing and catches nothing: `trainer` does, and repeats the step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from pipeline.batch import slices
from pipeline.errors import MemoryShortError

HALVINGS = 4  # a piece of a sixteenth of a row is the last level


class OomFallback:
    """`layers` of the model, of which `recomputed` are at first; `tokens` per packed row. `recompute(count)` makes the
    model recompute so many layers."""

    def __init__(self, layers: int, recomputed: int, tokens: int, recompute: Callable[[int], object]) -> None:
        quarter = max(1, -(-layers // 4))
        counts = [*range(recomputed + quarter, layers, quarter), layers] if recomputed < layers else []
        self.levels: list[tuple[int, int]] = [(recomputed, tokens), *((count, tokens) for count in counts)]
        self.levels += [(max(recomputed, layers), tokens >> halving) for halving in range(1, HALVINGS + 1)]
        self.level = 0
        self._recompute = recompute

    def down(self) -> str | None:
        """Goes to the next level; returns its change in words, None when there is no level left."""
        if self.level + 1 >= len(self.levels):
            return None
        before = self.levels[self.level]
        self.at(self.level + 1)
        layers, tokens = self.levels[self.level]
        return f"{layers} layers are recomputed" if layers != before[0] else f"pieces of {tokens} tokens at a time"

    def reached(self) -> tuple[int, int] | None:
        """Returns the layers and tokens that it has come down to; None while memory never ran out."""
        return self.levels[self.level] if self.level else None

    def resume(self, layers: int, tokens: int) -> None:
        """Goes to the first level as frugal as what an interrupted training had `reached`, here or elsewhere."""
        frugal = (number for number, level in enumerate(self.levels) if level[0] >= layers and level[1] <= tokens)
        self.at(next(frugal, len(self.levels) - 1))

    def at(self, level: int) -> None:
        """Goes to a level."""
        if self.levels[level][0] != self.levels[self.level][0]:
            self._recompute(self.levels[level][0])
        self.level = level

    def pieces(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yields a row as the model takes it, whole or cut between examples at the level's tokens. One example alone
        is never cut, however long."""
        limit = self.levels[self.level][1]
        if row["input_ids"].shape[1] <= limit:  # nothing is read from the device, which would have to finish first
            yield row
            return
        lengths = row["cu_seq_lens_q"].diff().tolist()
        for cut in slices(lengths, limit):
            yield _cut(row, sum(lengths[: cut.start]), lengths[cut])


def _cut(row: dict[str, Any], start: int, lengths: list[int]) -> dict[str, Any]:
    span = slice(start, start + sum(lengths))
    tokens = {name: row[name][:, span] for name in ("input_ids", "labels", "position_ids")}
    answers = row["answers"][(row["answers"] >= span.start) & (row["answers"] < span.stop)] - start
    ends = torch.tensor([0, *lengths]).cumsum(0).to(row["cu_seq_lens_q"])
    return {**tokens, "answers": answers, "cu_seq_lens_q": ends, "max_length_q": max(lengths)}


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turns memory that ran out where nothing can be done about it (the machine's own, an evaluation) into a sentence.

    A failed allocation on the CPU is Python's `MemoryError` or torch's `RuntimeError` of its allocator.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        out = isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
        if not out:
            raise
        device = "GPU" if isinstance(error, torch.OutOfMemoryError) else "machine"
        raise MemoryShortError(
            f"the {device} has not enough memory for this training: lower train.pack_tokens or train.max_length, or "
            "take a smaller base model; the same command goes on from the newest checkpoint"
        ) from error
