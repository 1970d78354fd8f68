"""`python -m tests.matrix` crosses every architecture with every template and writes `docs/matrix.md`.

Exit code 1 where a cell has failed; the page says so too.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.matrix import bases, cross
from tests.matrix.page import PAGE, Row, text


def main() -> int:
    """Writes the page, by a process for each core."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    started, results = time.monotonic(), dict[tuple[str, str], Row]()
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
        for model_type, found in zip(bases.ARCHITECTURES, pool.map(cross.rows, bases.ARCHITECTURES), strict=True):
            results |= found
            print(f"{model_type}: {time.monotonic() - started:,.0f} s", flush=True)
    PAGE.write_text(text(results), encoding="utf-8")
    failed = False
    for pair, cells in results.items():
        for step, outcome in cells.items():
            if outcome.result == "FAILED":
                failed = True
                print(f"{' with '.join(pair)}: {step}: {outcome.sentence}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
