"""Rows for the near-duplicate benchmark, and the truth about them.

Output contract: `rows` gives the same texts for the same sources and count: about 765 characters of real sentences,
three in ten an edited copy of a row before, so that true pairs lie on both sides of a Jaccard similarity of 0.8;
`real_sets` gives the texts of each real set; `true_pairs` gives every pair of rows that reaches a threshold, without
bands. With SOLOTUNE_TEST_DATA the sentences and sets are those of that folder, without it those of the bundled sample.
"""

from __future__ import annotations

import csv
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.curation.sample import ROOT, tickets
from pipeline.dedup.shingles import Shingles

CHARACTERS = 765
COPIES = 0.3
MOST_EDITS = 10  # words replaced in a copy of some 120: five leave 0.78, four 0.82
_ROWS = 256  # compared with all others at a time


def data() -> Path | None:
    """Returns the folder of real sets, None where the environment names none."""
    folder = os.environ.get("SOLOTUNE_TEST_DATA")
    return Path(folder) if folder else None


def real_sets() -> dict[str, list[str]]:
    """Returns the texts of four real sets, or of the sample."""
    folder = data()
    if folder is None:
        table = tickets(1 << 30)
        pairs = zip(table["prompt"].to_pylist(), table["response"].to_pylist(), strict=True)
        return {"sample": [f"{prompt}\n{response}" for prompt, response in pairs]}
    answers = _columns(folder / "support_qa", ("instruction", "response"))
    return {
        "support_qa": answers,
        "banking77": _columns(folder / "banking77", ("text",)),
        "wiki": _pages(folder / "wiki"),
        "support_kb": _pages(folder / "support_kb"),
    }


def _columns(folder: Path, names: tuple[str, ...]) -> list[str]:
    texts = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            texts += ["\n".join(row[name] for name in names) for row in csv.DictReader(stream)]
    return texts


def _pages(folder: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.md*"))]


def sentences() -> list[str]:
    """Returns the distinct sentences of all real sets, in a fixed order."""
    texts = [text for texts in real_sets().values() for text in texts]
    if data() is None:
        pages = sorted((ROOT / "assets" / "sample" / "dump").rglob("*.md"))
        texts += [page.read_text(encoding="utf-8") for page in pages]
    cut = (sentence.strip() for text in texts for sentence in re.split(r"(?<=[.!?])\s+|\n+", text))
    return sorted({sentence for sentence in cut if len(sentence.split()) >= 4})


def rows(count: int) -> list[str]:
    """Returns `count` texts."""
    draw = random.Random(0)
    pool = sentences()
    words = sorted({word for sentence in pool for word in sentence.split()})
    made: list[str] = []
    while len(made) < count:
        if made and draw.random() < COPIES:
            text = made[draw.randrange(len(made))].split(" ")
            for _ in range(draw.randint(0, MOST_EDITS)):
                text[draw.randrange(len(text))] = draw.choice(words)
            made.append(" ".join(text))
        else:
            made.append(_fresh(draw, pool))
    return made


def _fresh(draw: random.Random, pool: list[str]) -> str:
    """Returns sentences drawn at random until they are long enough, cut at a word."""
    chosen: list[str] = []
    wanted = draw.gauss(CHARACTERS, 120)
    while sum(map(len, chosen)) < wanted:
        chosen.append(draw.choice(pool))
    return " ".join(" ".join(chosen)[: max(60, int(wanted))].split(" ")[:-1])


def true_pairs(sets: Shingles, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (a, b), a < b: all pairs of rows whose sets reach the threshold, some rows at a time, by a sparse product
    with all sets."""
    from scipy.sparse import csr_array

    hashes, column = np.unique(sets.values, return_inverse=True)
    shape = (len(sets.sizes), len(hashes))
    matrix = csr_array((np.ones(len(column), np.int32), column.astype(np.int32), sets.offsets), shape=shape)
    several = np.flatnonzero(np.bincount(column, minlength=len(hashes)) > 1)  # a hash of one row is in no pair
    matrix = matrix[:, several]
    turned = matrix.T.tocsr()
    for start in range(0, shape[0], _ROWS):
        shared = (matrix[start : start + _ROWS] @ turned).tocoo()
        a, b = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        near = (a < b) & (shared.data >= threshold * (sets.sizes[a] + sets.sizes[b] - shared.data))
        yield a[near], b[near]
