"""Windows of text on their way through a model: cut into batches by their length, picked out of one, put together.

Output contract: a batch that `cut` makes has no more padded tokens than its budget, one of a single long window
excepted; in `chosen` and `joined` a window keeps its tokens' states, and loses or gains padding alone.
This module knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

STRETCH = 1.2  # how much longer than its first window others may be before a batch that is large enough ends


@dataclass
class Batch:
    """Windows on their way: which they are, their hidden states (windows, width, hidden), where they have tokens."""

    windows: np.ndarray
    states: Any
    mask: Any  # bool (windows, width)


def cut(lengths: Sequence[int], budget: int, least: int) -> Iterator[tuple[int, int]]:
    """Yields (start, stop) over ascending lengths: as many rows as `budget` padded tokens hold, at least one, fewer
    where a batch of `least` tokens would go on with rows `STRETCH` times as long as its first."""
    edges = [0]
    for position, length in enumerate(lengths):
        rows = position - edges[-1]
        longer = rows * length >= least and length > STRETCH * lengths[edges[-1]]
        if rows and (longer or (rows + 1) * length > budget):
            edges.append(position)
    return pairwise([*edges, len(lengths)] if lengths else [])


def chosen(batch: Batch, rows: np.ndarray) -> Batch:
    """Returns some rows of a batch, as wide as the longest of them."""
    if not len(rows):
        return Batch(batch.windows[rows], batch.states[:0], batch.mask[:0])
    mask = batch.mask[rows.tolist()]
    width = int(mask.sum(1).max())
    return Batch(batch.windows[rows], batch.states[rows.tolist(), :width], mask[:, :width])


def joined(batches: list[Batch]) -> Batch:
    """Returns batches as one, padded to the widest."""
    from torch.nn.functional import pad

    if len(batches) == 1:
        return batches[0]
    import torch

    width = max(batch.mask.shape[1] for batch in batches)
    states = [pad(batch.states, (0, 0, 0, width - batch.states.shape[1])) for batch in batches]
    masks = [pad(batch.mask, (0, width - batch.mask.shape[1])) for batch in batches]
    return Batch(np.concatenate([batch.windows for batch in batches]), torch.cat(states), torch.cat(masks))
