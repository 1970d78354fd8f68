"""Curates three real sets by the project's own jobs, with Ray, and leaves what the cells need in a small folder.

Output contract: below the folder, a run folder for each set (`data/{train,val,golden}`, and `data/synthetic` where the
set has questions), and general text as Markdown: `general/mixed` to train on, `general/kept` to see what is forgotten;
both are chapters of one book, every other one. What is finished is not done again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.outcome.cells import KEPT, MIXED
from pipeline import schema
from pipeline.run import Run

ROOT = Path(__file__).resolve().parents[2]
MOST = {"train": 4_060, "val": 100, "golden": 300}  # rows of a set
QUESTIONS = ["Issue", "Issues", "Problem", "Description", "Symptoms", "Question"]
ANSWERS = ["Solution", "Solutions", "Possible solution", "Possible solutions", "Workaround", "Fix", "Patch", "Steps"]
TABLE = {"match": "*.csv", "columns": {"prompt": "instruction", "response": "response", "label": "intent"}}
READ = {"tables": [TABLE], "markdown": {"questions": QUESTIONS, "answers": ANSWERS}}
INPUTS = {  # a set's folder below the data, and the share of its rows that stay golden
    "support_qa": ("support_qa", 0.05),
    "support_kb": ("support_kb/en", 0.15),  # the base knows English alone, and the German pages are the same ones
    "wiki": ("wiki/v26.04", 0.15),  # the other release has the same sections in other words: golden ones were known
}
BOOK = "general/rust_book"


def prepare(data: Path, model: Path, out: Path) -> None:
    """Fills the folder with what it does not hold yet."""
    out = out.absolute()
    chapters = sorted((data / BOOK).rglob("*.md"))
    for number, chapter in enumerate(chapters):
        place = out / (MIXED, KEPT)[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(chapter, place / chapter.name)
    with tempfile.TemporaryDirectory(prefix="solotune-outcome-") as scratch:
        configs = {name: _config(name, model, Path(scratch)) for name in INPUTS}
        for name, (folder, _) in INPUTS.items():
            run = Run.open(str(out / name))
            if run.manifest("curate") is None:
                curated = Path(scratch, name)
                _job("curate", configs[name], "--input", (data / folder).absolute(), "--run", curated)
                _few(Run.open(str(curated)), run)
        for name, config in configs.items():
            run = Run.open(str(out / name))
            asked = run.read_outputs(run.require("curate"), "data/train")["kind"].to_pylist()
            if "qa" in asked and run.manifest("synthesize") is None:
                _job("synthesize", config, "--run", out / name)


def _config(name: str, model: Path, folder: Path) -> Path:
    """Writes the configuration that a set is curated with."""
    curate = {"languages": ["en"], "read": READ, "split": {"golden": INPUTS[name][1]}}
    config = folder / f"{name}.yaml"
    config.write_text(json.dumps({"name": name, "base_model": str(model.absolute()), "curate": curate}))
    return config


def _job(verb: str, *arguments: Any) -> None:
    subprocess.run([sys.executable, "-m", f"jobs.{verb}", *map(str, arguments)], cwd=ROOT, check=True)


def _few(curated: Run, run: Run) -> None:
    """Copies curated rows, at most so many of each split, into a run folder as `curate` leaves it."""
    manifest = curated.require("curate")
    stage, counts = run.begin("curate", manifest["key"]), {}
    for split, most in MOST.items():
        rows = curated.read_outputs(manifest, f"data/{split}").to_pylist()
        rows.sort(key=lambda row: (split == "golden" and row["kind"] != "qa", schema.shuffle_key(0, row["id"])))
        counts[split] = len(rows[:most])
        run.put(stage, f"data/{split}/00000.parquet", pa.Table.from_pylist(rows[:most], schema=schema.RECORD))
    run.commit(stage, {}, counts)
