"""Near duplicates: signatures against datasketch's `update`, the whole stage against datatrove and Data-Juicer, recall.

Output contract: see `measure`. All sides get the same rows and two workers, and are timed from the rows on disk to the
rows that are kept, without imports and the start of a cluster. What each found and missed goes to standard error.
The peers run in environments of their own: SOLOTUNE_BENCH_PEERS names the folder that has `datatrove` and `data-juicer`
(bench/README.md); a peer that is not there is None.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.curation import corpus
from bench.curation.sample import seconds, tickets
from pipeline import schema
from pipeline.config import Dedup
from pipeline.run import Run

PEERS = {"datatrove": "datatrove_minhash.py", "data-juicer": "data_juicer_minhash.py"}
WORKERS = 2
PART = 2_000


def measure(quick: bool) -> dict[str, float | None]:
    """Returns `signatures_x_datasketch`; `pair_recall`, the lowest over the real sets; `near_x_datatrove` and
    `near_x_data_juicer`, how many times as long the peer takes for the whole stage."""
    found: dict[str, float | None] = {"signatures_x_datasketch": signatures(200 if quick else 2_000)}
    with _ray():
        found["pair_recall"] = min(recall(name, texts) for name, texts in corpus.real_sets().items())
        found |= whole(corpus.rows(10_000 if quick else 100_000))
    return found


def signatures(rows: int) -> float:
    """Returns how many times as long datasketch's `update` takes, text by text, as our batches."""
    from datasketch import MinHash

    from pipeline.dedup import bands
    from pipeline.dedup.shingles import shingle

    table = tickets(rows)
    settings = Dedup()
    count = settings.bands * settings.rows
    perms = bands.permutations(count)
    pairs = zip(table["prompt"].to_pylist(), table["response"].to_pylist(), strict=True)
    texts = [f"{prompt}\n{response}" for prompt, response in pairs]

    def stock() -> None:
        for text in texts:
            words = text.lower().split()
            sketch = MinHash(num_perm=count)
            for gram in {" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))}:
                sketch.update(gram.encode())

    ours = seconds(lambda: bands.signatures(shingle(texts, settings.shingle_words), perms))
    return seconds(stock) / ours


def recall(name: str, texts: list[str]) -> float:
    """Returns the share of all pairs of a set at the threshold or above that the stage verified or found identical."""
    with tempfile.TemporaryDirectory() as folder:
        run, _, report = _curate(folder, texts)
        sets = _sets(texts)
        a, b = _truth(sets)
        paths = run.list("stages/dedup/edges")
        edges = pa.concat_tables([run.read_table(path) for path in paths])
        bands = pa.concat_tables([run.read_table(path, ["digest"]) for path in run.list("stages/dedup/bands")])
    _, double = np.unique(np.array(bands["digest"].to_pylist(), dtype="S16"), return_inverse=True)
    size = int(double.max()) + 1
    ends = [double[np.asarray(edges[end], dtype=np.int64)] for end in ("a", "b")]
    known = np.minimum(*ends) * size + np.maximum(*ends)
    one, other = double[a], double[b]
    hit = (one == other) | np.isin(np.minimum(one, other) * size + np.maximum(one, other), known)
    share = float(hit.mean()) if len(hit) else 1.0
    _say(f"{name}: {len(texts):,} rows, {len(hit):,} pairs, {share:.4f} found", report)
    return share


def whole(texts: list[str]) -> dict[str, float | None]:
    """Returns the two ratios, and says what each side removed, found and missed."""
    a, b = _truth(_sets(texts))
    found: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        _, kept, report = _curate(f"{folder}/ours", texts)
        ours = report.pop("seconds")
        _say(f"truth: {len(texts):,} rows, {len(a):,} pairs; all took {time.perf_counter() - start:.1f} s", report)
        _judge("ours", kept, a, b, len(texts) / ours)
        source = Path(folder, "texts")
        source.mkdir()
        for shard in range(WORKERS):
            lines = (json.dumps({"id": str(n), "text": texts[n]}) for n in range(shard, len(texts), WORKERS))
            (source / f"{shard}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for peer in PEERS:
            key = f"near_x_{peer.replace('-', '_')}"
            answer = _peer(peer, source, Path(folder, peer))
            found[key] = None
            if answer is not None:
                taken, kept = answer
                _judge(peer, kept, a, b, len(texts) / taken)
                found[key] = taken / ours
    return found


def _judge(name: str, kept: set[int], a: np.ndarray, b: np.ndarray, rate: float) -> None:
    """Says how many rows a side removed, how many true pairs it broke up and left, and how many rows it removed that
    have no near duplicate at all."""
    count = int(max(a.max(initial=-1), b.max(initial=-1), max(kept, default=-1))) + 1
    stays = np.zeros(count, dtype=bool)
    stays[list(kept)] = True
    left = int((stays[a] & stays[b]).sum())
    paired = np.zeros(count, dtype=bool)
    paired[a] = paired[b] = True
    _say(
        f"{name}: {rate:,.0f} rows/s",
        {
            "removed": int((~stays).sum()),
            "pairs_found": len(a) - left,
            "pairs_missed": left,
            "removed_without_a_twin": int((~stays & ~paired).sum()),
        },
    )


def _say(what: str, about: dict[str, Any]) -> None:
    print(f"  {what}  {json.dumps(about)}", file=sys.stderr, flush=True)


def _sets(texts: list[str]) -> Any:
    from pipeline.dedup.shingles import shingle

    return shingle(texts, Dedup().shingle_words)


def _truth(sets: Any) -> tuple[np.ndarray, np.ndarray]:
    pairs = list(corpus.true_pairs(sets, Dedup().threshold))
    a, b = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    return a, b


# -- ours -------------------------------------------------------------------------------------------------------------


@contextmanager
def _ray() -> Iterator[None]:
    """A Ray of two cores for this process, unless there is one."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(corpus.ROOT), os.environ.get("PYTHONPATH"))))
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


def _curate(folder: str, texts: list[str]) -> tuple[Run, set[int], dict[str, Any]]:
    """Runs the stage over the texts; returns the run, the numbers of the rows kept and the report with `seconds`."""
    from pipeline.dedup.near import deduplicate

    run = Run.open(folder)
    parts = []
    for start in range(0, len(texts), PART):
        parts.append(f"stages/screen/{start // PART:05d}.parquet")
        run.write_table(parts[-1], _working(texts[start : start + PART], start))
    stage = run.begin("dedup", "bench")
    start_time = time.perf_counter()
    found = deduplicate(run, stage, parts, Dedup())
    taken = time.perf_counter() - start_time
    kept = found.decisions.filter(found.decisions["kept"])["id"]
    return run, {int(identity, 16) for identity in kept.to_pylist()}, {**found.report, "seconds": taken}


def _working(texts: Sequence[str], start: int) -> pa.Table:
    filled: dict[str, Any] = {
        "id": [f"{start + number:032x}" for number in range(len(texts))],
        "prompt": texts,
        "response": [""] * len(texts),
        "later": [[]] * len(texts),
        "line": range(len(texts)),
    }
    for field in schema.WORKING:
        if field.name not in filled:
            filled[field.name] = [None if field.nullable else ""] * len(texts)
    return pa.table({field.name: pa.array(filled[field.name], field.type) for field in schema.WORKING}).cast(
        schema.WORKING
    )


# -- peers ------------------------------------------------------------------------------------------------------------


def _peer(name: str, source: Path, target: Path) -> tuple[float, set[int]] | None:
    """Returns the seconds a peer took and the numbers of the rows it kept, None where it is not installed."""
    folder = os.environ.get("SOLOTUNE_BENCH_PEERS")
    python = Path(folder, name, "bin", "python") if folder else None
    if python is None or not python.exists():
        return None
    target.mkdir()
    script = Path(__file__).parent / "peers" / PEERS[name]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), str(script), str(source), str(target), str(WORKERS)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    taken = float(json.loads((target / "seconds.json").read_text(encoding="utf-8")))
    kept = (target / "kept.txt").read_text(encoding="utf-8").split()
    return taken, {int(identity) for identity in kept}
