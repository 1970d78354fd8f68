"""The main job on real input: `SOLOTUNE_TEST_DATA=DIR make test-cluster`, where DIR holds support_qa, support_kb, wiki.

For each set: counts reconcile, no near duplicate survives (checked exactly, every pair), no group straddles a split,
and a curation killed with SIGKILL in the middle and started again leaves the bytes of an undisturbed one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("SOLOTUNE_TEST_DATA")
SETS = {"csv": "support_qa", "knowledge-base": "support_kb", "wiki": "wiki"}
pytestmark = [pytest.mark.cluster, pytest.mark.skipif(DATA is None, reason="SOLOTUNE_TEST_DATA names no folder")]


def curate(config: str, run: Path, kill_after: float | None = None) -> int:
    """Runs the job in a process group of its own; with `kill_after` seconds, ends all of it with SIGKILL."""
    command = [sys.executable, "-m", "jobs.curate", str(ROOT / "configs" / f"{config}.yaml"), "--run", str(run)]
    command += ["--input", f"{DATA}/{SETS[config]}"]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
    if kill_after is not None:
        time.sleep(kill_after)
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def contents(folder: Path) -> dict[str, bytes]:
    kept = [path for top in ("data", "rejects", "metrics") for path in (folder / top).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def most_alike(texts: list[str]) -> float:
    """Returns the highest Jaccard similarity of word 3-grams over all pairs, by a sparse product: no hashing of
    ours."""
    rows: list[int] = []
    columns: list[int] = []
    ids: dict[tuple[str, ...], int] = {}
    for row, text in enumerate(texts):
        words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())
        grams = {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}
        rows += [row] * len(grams)
        columns += [ids.setdefault(gram, len(ids)) for gram in grams]
    matrix = sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(texts), len(ids)))
    sizes = np.asarray(matrix.sum(axis=1)).ravel()
    best = 0.0
    for start in range(0, len(texts), 256):
        shared = (matrix[start : start + 256] @ matrix.T).tocoo()
        left, right = shared.row + start, shared.col
        pairs = left < right
        both = shared.data[pairs]
        if both.size:
            best = max(best, float((both / (sizes[left[pairs]] + sizes[right[pairs]] - both)).max()))
    return best


@pytest.fixture(scope="module", params=sorted(SETS))
def finished(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    run = tmp_path_factory.mktemp(request.param)
    assert curate(request.param, run) == 0
    return request.param, run


def test_counts_reconcile_and_nothing_leaks(finished: tuple[str, Path]) -> None:
    _, run = finished
    metrics = json.loads((run / "metrics" / "curate.json").read_text())
    for source in metrics["sources"].values():
        assert source["read"] == source["kept"] + sum(source["rejected"].values())
    splits = {name: pq.read_table(run / "data" / name) for name in ("train", "val", "golden")}
    assert {name: table.num_rows for name, table in splits.items()} == metrics["splits"]
    groups = [set(table["group"].to_pylist()) for table in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    rows = pa.concat_tables(splits.values()).select(["prompt", "response"]).to_pylist()
    assert most_alike([f"{row['prompt']}\n{row['response']}" for row in rows]) < 0.8


def test_killed_in_the_middle_and_started_again(finished: tuple[str, Path], tmp_path: Path) -> None:
    config, undisturbed = finished
    for seconds in (12.0, 25.0):
        assert curate(config, tmp_path, kill_after=seconds) == -signal.SIGKILL
        assert not (tmp_path / "metrics" / "curate.json").exists()
    assert curate(config, tmp_path) == 0
    assert contents(tmp_path) == contents(undisturbed)
