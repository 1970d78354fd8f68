"""What a job printed, kept in its run folder: `logs/VERB-TIME.log.zst`, to be read with `zstdcat`.

Output contract: one file per start of a job that ended, by itself or by an error, whose message is then its last line;
a killed process leaves none. It holds what the terminal showed, nothing more, and its owner alone may read it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
from rich.console import Console

from pipeline.errors import StorageError
from pipeline.run import Run


@contextlib.contextmanager
def kept(run: Run, verb: str, console: Console) -> Iterator[None]:
    """Writes the log when the block ends. `console` records. An error of the job counts more than one of its log."""
    path = f"logs/{verb}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.log.zst"

    def write(end: str = "") -> None:
        text = console.export_text(clear=False) + end
        run.write_bytes(path, pa.compress(text.encode(), codec="zstd", asbytes=True), private=True)

    try:
        yield
    except BaseException as error:
        with contextlib.suppress(StorageError):
            write(f"{type(error).__name__}: {error}\n")
        raise
    write()
