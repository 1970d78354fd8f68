"""The held-out rows that base, adapter, merged model and quantised files are all measured on.

Output contract: golden rows, questions before documents, in an order that the project's seed and the rows' own ids
decide, never their place in a file: the first so many are a sample. They are encoded exactly as training rows are: all
answers of a conversation are measured, each with what was really said before it.
`held` says how a base is loaded to be measured on them, so that whoever measures it gets the same figure.
This module measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Literal

from pipeline import schema
from pipeline.errors import InputError
from pipeline.models import memory
from pipeline.models.conversation import encode_rows
from pipeline.models.template import Encoded

if TYPE_CHECKING:
    from pipeline.config import Project
    from pipeline.models.load import Base
    from pipeline.run import Run


def golden_rows(project: Project, run: Run) -> list[dict[str, Any]]:
    """Returns every golden row; raises `MissingStageError` before `curate` and `InputError` where there is none."""
    golden: list[dict[str, Any]] = run.read_outputs(run.require("curate"), "data/golden").to_pylist()
    if not golden:
        raise InputError(f"{run.uri} has an empty golden set: curate more rows, or set curate.split.golden higher")

    def place(row: dict[str, Any]) -> tuple[bool, bytes]:
        return row["kind"] != "qa", schema.shuffle_key(project.seed, row["id"])

    return sorted(golden, key=place)


@dataclass(frozen=True)
class Held:
    """Rows as the model sees them in training. `starts`: the first example of each row, which has one or several."""

    examples: list[Encoded]
    starts: list[int]


def encode(project: Project, tokenizer: Any, golden: list[dict[str, Any]]) -> Held:
    """Returns the examples of the rows, in the order of the rows."""
    turns = [schema.turns_of(row) for row in golden]
    rows = encode_rows(tokenizer, turns, project.train.max_length, [row["kind"] for row in golden])
    return Held(list(chain.from_iterable(rows)), [0, *accumulate(map(len, rows[:-1]))])


def held(project: Project, base: Base) -> Literal["nf4"] | None:
    """Returns None, the base as it is on disk, where that fits the device, else how training holds it."""
    return None if memory.fits(base.folder, 2) else project.train.quantise
