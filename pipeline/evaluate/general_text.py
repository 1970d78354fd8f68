"""General text, to see whether tuning made the model forget what it knew.

Output contract: a file or folder of text (.md, .txt whole; .jsonl and .parquet by their column `text`) becomes pieces
of at most `train.max_length` tokens, as plain text without a template, every token but the first supervised; which
pieces are measured the project's seed decides. The text stays where it is.
This module measures nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.models.template import IGNORED, Encoded, text_ids

if TYPE_CHECKING:
    from pipeline.config import Project

SUFFIXES = (".md", ".txt", ".jsonl", ".parquet")


def files(place: str) -> list[Path]:
    """Returns the files that would be read, sorted; raises `InputError` where there is none."""
    path = Path(place)
    paths = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
    if not paths or any(file.suffix not in SUFFIXES for file in paths):
        raise InputError(f"evaluate.general: no text at {place}; {', '.join(SUFFIXES)} are read")
    return paths


def pieces(project: Project, tokenizer: Any) -> list[Encoded]:
    """Returns `evaluate.general_rows` pieces of the text that `evaluate.general` names."""
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    width = project.train.max_length - len(start)
    sequences = []
    for file in files(str(project.evaluate.general)):
        for ids in text_ids(tokenizer, list(_texts(file))):
            sequences += [start + ids[begin : begin + width] for begin in range(0, len(ids) - 1, width)]
    if not sequences:
        raise InputError(f"evaluate.general: the text at {project.evaluate.general} is empty")
    random.Random(project.seed).shuffle(sequences)
    chosen = sequences[: project.evaluate.general_rows]
    return [Encoded(ids, [IGNORED, *ids[1:]], truncated=False) for ids in chosen]


def _texts(file: Path) -> Iterator[str]:
    if file.suffix in {".md", ".txt"}:
        yield file.read_text(encoding="utf-8", errors="replace")
        return
    for number, row in enumerate(_rows(file), 1):
        if not isinstance(row, dict) or "text" not in row:
            raise InputError(f"evaluate.general: {file} has no column `text` in row {number}")
        yield str(row["text"] or "")


def _rows(file: Path) -> list[Any]:
    try:
        if file.suffix == ".jsonl":
            lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
            return [json.loads(line) for line in lines if line.strip()]
        import pyarrow.parquet as pq

        return list(pq.read_table(file).to_pylist())
    except ValueError as error:  # pyarrow's, for what is no Parquet file, is one too
        raise InputError(f"evaluate.general: {file} cannot be read: {error}") from error
