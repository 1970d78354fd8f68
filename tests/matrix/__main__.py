"""`python -m tests.matrix` crosses every architecture with every template and writes `docs/matrix.md`.

Exit code 1 where a cell has failed; the page says so too.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.matrix import bases
from tests.matrix.cell import Case, outcomes
from tests.matrix.page import PAGE, Row, text


def pairs(model_type: str) -> dict[tuple[str, str], Row]:
    """Returns the rows of one architecture; its first template is answered by an engine."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    return {
        (model_type, name): row(model_type, name, engine=name == next(iter(bases.TEMPLATES)))
        for name in bases.TEMPLATES
    }


def row(model_type: str, name: str, engine: bool = False) -> Row:
    """Returns the outcomes of one architecture with one template."""
    chosen = bases.TEMPLATES[name]
    with tempfile.TemporaryDirectory() as place:
        base = bases.save(model_type, chosen, Path(place, "base-of-the-matrix"))
        return outcomes(Case(base, None if chosen.text else "default", Path(place, "run")), engine)


def main() -> int:
    """Writes the page."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    started, results = time.monotonic(), dict[tuple[str, str], Row]()
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
        for model_type, found in zip(bases.ARCHITECTURES, pool.map(pairs, bases.ARCHITECTURES), strict=True):
            results |= found
            print(f"{model_type}: {time.monotonic() - started:,.0f} s", flush=True)
    PAGE.write_text(text(results), encoding="utf-8")
    failed = [
        f"{pair}: {step}: {outcome.sentence}"
        for pair, cells in results.items()
        for step, outcome in cells.items()
        if outcome.result == "FAILED"
    ]
    print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
