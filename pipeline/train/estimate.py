"""How much there is to train on, and how fast a card really was: what turns a plan's rate into hours and a price.

Output contract: `work_of` returns the tokens of one epoch, counted where a run has packed its rows and estimated from
its curated text before; `correction` returns measured over planned speed of a run, while it trains or afterwards.
This module plans nothing and shows nothing.
"""

from __future__ import annotations

import pyarrow.compute as pc

from pipeline import schema
from pipeline.plan import resolve_auto
from pipeline.plan.propose import Measured, Work
from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.data.pack import SUMMARY

TYPICAL = (50_000, 220)
"""Rows and tokens per row where nothing is said: the guide's 50 k examples, of ticket length."""
CHARACTERS = 4.0  # per token
FRAME = 16  # tokens that a chat template puts around a question and its answer


def work_of(run: Run | None, rows: int | None, tokens_per_row: int | None) -> Work:
    """Returns the work of a run, else of so many rows; raises `MissingStageError` for a run that is not curated."""
    if run is None:
        rows, each = rows or TYPICAL[0], tokens_per_row or TYPICAL[1]
        return Work(rows * each, f"{rows:,} rows of {each} tokens")
    if run.exists(SUMMARY):
        packed = run.read_json(SUMMARY)["train"]
        return Work(packed["tokens"], f"{packed['examples']:,} rows, counted in {run.uri}")
    found = run.read_outputs(run.require("curate"), "data/train")
    texts, starts = schema.turns(found)
    tokens = round(pc.sum(pc.utf8_length(texts)).as_py() / CHARACTERS) + FRAME * int(starts[-1]) // 2
    return Work(tokens, f"{found.num_rows:,} rows, estimated from the text in {run.uri}")


def correction(run: Run) -> Measured | None:
    """Returns measured over planned tokens per second of a run, None before its first steps or without a plan."""
    if not run.exists(resolve_auto.PLAN):
        return None
    planned = run.read_json(resolve_auto.PLAN)
    speed = resolve_auto.measured(qlora.read_lines(run))
    if not speed or not planned["tokens_per_second"]:
        return None
    return Measured(planned["card"], speed / planned["tokens_per_second"], run.uri)
