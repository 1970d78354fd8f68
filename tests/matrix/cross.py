"""Rows of the matrix, each in a folder that is gone afterwards. A worker process finds these by name."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.matrix import bases
from tests.matrix.cell import Case, outcomes
from tests.matrix.page import Row

ANSWERED = "SmolLM2"


def rows(model_type: str) -> dict[tuple[str, str], Row]:
    """Returns the rows of one architecture; with `ANSWERED`, an engine answers."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    return {(model_type, name): row(model_type, name, engine=name == ANSWERED) for name in bases.TEMPLATES}


def row(model_type: str, name: str, engine: bool = False) -> Row:
    """Returns the outcomes of one architecture with one template."""
    template = bases.TEMPLATES[name]
    with tempfile.TemporaryDirectory() as place:
        base = bases.save(model_type, template, Path(place, "base-of-the-matrix"))
        return outcomes(Case(base, None if template.text else "default", Path(place, "run")), engine)
