"""Batches of text windows: split by length, selected from, concatenated.

Output contract: a batch of `split` has no more padded tokens than its budget, a single long window excepted. `select`
and `concat` keep the states of a window's tokens and change its padding alone.
This module knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

STRETCH = 1.2  # a batch that is large enough ends before a window that is longer than its first by this factor


@dataclass
class Batch:
    """Windows between two layers."""

    windows: np.ndarray  # their numbers, int64 (windows,)
    states: Any  # hidden states (windows, width, hidden)
    mask: Any  # True at tokens, bool (windows, width)


def split(lengths: Sequence[int], budget: int, least: int) -> Iterator[tuple[int, int]]:
    """Yields (start, stop) over ascending lengths: as many rows as `budget` padded tokens hold, at least one. A batch
    of `least` tokens ends before rows `STRETCH` times as long as its first."""
    edges = [0]
    for position, length in enumerate(lengths):
        rows = position - edges[-1]
        longer = rows * length >= least and length > STRETCH * lengths[edges[-1]]
        if rows and (longer or (rows + 1) * length > budget):
            edges.append(position)
    return pairwise([*edges, len(lengths)] if lengths else [])


def select(batch: Batch, rows: np.ndarray) -> Batch:
    """Returns some rows of a batch, as wide as the longest of them. `rows`: int64, their positions in the batch."""
    if not len(rows):
        return Batch(batch.windows[rows], batch.states[:0], batch.mask[:0])
    mask = batch.mask[rows.tolist()]
    width = int(mask.sum(1).max())
    return Batch(batch.windows[rows], batch.states[rows.tolist(), :width], mask[:, :width])


def concat(batches: list[Batch]) -> Batch:
    """Returns batches as one, padded to the widest."""
    import torch
    from torch.nn.functional import pad

    if len(batches) == 1:
        return batches[0]
    width = max(batch.mask.shape[1] for batch in batches)
    states = [pad(batch.states, (0, 0, 0, width - batch.states.shape[1])) for batch in batches]
    masks = [pad(batch.mask, (0, width - batch.mask.shape[1])) for batch in batches]
    return Batch(np.concatenate([batch.windows for batch in batches]), torch.cat(states), torch.cat(masks))
