"""What is trained: three sets of rows, five ways to train on each, some seeds; and with which settings.

A cell is one training and what was measured of it. Its name is SET/WAY/SEED, such as `support_qa/general/0`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import Project
from pipeline.plan.cost_model import Compute

MIXED, KEPT = "general/mixed", "general/kept"  # of the prepared folder: text that is trained on, text that is not


class Way(NamedTuple):
    """How a cell trains: which layers have an adapter, what is added to the rows, what products are computed in."""

    title: str
    targets: str = "all-linear"
    general: bool = True
    synthetic: bool = False
    compute: Compute = "bf16"

    @property
    def rows(self) -> str:
        """What the way trains on: ways of the same rows share them packed."""
        return f"general-{self.general}-synthetic-{self.synthetic}"


WAYS = {  # the most telling first
    "general": Way("all-linear, 10 % general text"),
    "plain": Way("all-linear, no general text", general=False),
    "qv": Way("q,v, 10 % general text", targets="qv"),
    "fp8": Way("all-linear, 10 % general text, products in FP8", compute="fp8_held"),
    "synthesis": Way("all-linear, 10 % general text, synthetic rows", synthetic=True),
}


@dataclass(frozen=True)
class Scale:
    """How much is trained and measured."""

    epochs: float
    max_length: int
    pack_tokens: int
    rows_per_step: int
    golden: int  # rows whose perplexity is measured
    answers: int  # of these, those that are answered
    max_new_tokens: int
    general: int  # pieces of general text


FULL = Scale(2.0, 1024, 16384, 1, 300, 100, 256, 64)
QUICK = Scale(0.05, 192, 512, 1, 8, 4, 16, 4)


class Cell(NamedTuple):
    """One training."""

    data: str
    way: str
    seed: int

    def __str__(self) -> str:
        return f"{self.data}/{self.way}/{self.seed}"


def cells(synthetic: dict[str, bool], seeds: int, only: Sequence[str]) -> list[Cell]:
    """Returns the cells in the order to run them. `synthetic`: the sets, and whether each has synthetic rows; `only`:
    globs on their names, none for all."""
    found = [
        Cell(data, name, seed)
        for name, way in WAYS.items()
        for data, has in synthetic.items()
        for seed in range(seeds)
        if has or not way.synthetic
    ]
    return [cell for cell in found if not only or any(fnmatchcase(str(cell), glob) for glob in only)]


def project(model: Path, prepared: Path, scale: Scale, way: Way = WAYS["general"], seed: int = 0) -> Project:
    """Returns the configuration of a way to train, and of the measurement."""
    train: dict[str, Any] = {
        "lora": {"r": 16, "alpha": 32, "targets": way.targets},
        "general": {"path": str(prepared / MIXED), "share": 0.1} if way.general else None,
        "max_length": scale.max_length,
        "pack_tokens": scale.pack_tokens,
        "rows_per_step": scale.rows_per_step,
        "epochs": scale.epochs,
        "learning_rate": 1e-3,
        "recompute": 0,
        "eval_every": 10**6,
        "checkpoint_minutes": 10**6,
        "keep": "last",
        "quantise": None,
        "compute": way.compute.removesuffix("_held"),
    }
    evaluate = {
        "rows": scale.answers,
        "max_new_tokens": scale.max_new_tokens,
        "general": str(prepared / KEPT),
        "general_rows": scale.general,
    }
    settings = {"name": "outcome", "base_model": str(model), "seed": seed, "train": train, "evaluate": evaluate}
    return Project.model_validate(settings)
