"""Curates three real sets by the project's own jobs, with Ray, and leaves what the cells need in a small folder.

Output contract: below the folder, a run folder for each set (`data/{train,val,golden}`, and `data/synthetic` where the
set has questions), and general text as Markdown: `general/mixed` to train on, `general/kept` to see what is forgotten;
both are chapters of one book, every other one.
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
INPUTS = {
    "support_qa": "support_qa",
    "support_kb": "support_kb/en",  # the base knows English alone, and the German pages are the same ones
    "wiki": "wiki/v26.04",  # another release has the same sections in other words: golden ones would be known
}
BOOK = "general/rust_book"


def prepare(data: Path, model: Path, out: Path) -> None:
    """Fills the folder; what it holds already is replaced."""
    shutil.rmtree(out, ignore_errors=True)
    settings = {
        "name": "outcome",
        "base_model": str(model.absolute()),
        "curate": {"languages": ["en"], "read": READ},
    }
    with tempfile.TemporaryDirectory(prefix="solotune-outcome-") as scratch:
        config = Path(scratch, "outcome.yaml")
        config.write_text(json.dumps(settings))
        for name, folder in INPUTS.items():
            place = Path(scratch, name)
            _job("curate", config, "--input", str((data / folder).absolute()), "--run", str(place))
            if _few(Run.open(str(place)), Run.open(str(out / name))):
                _job("synthesize", config, "--run", str(out.absolute() / name))
    chapters = sorted((data / BOOK).rglob("*.md"))
    for number, chapter in enumerate(chapters):
        place = out / (MIXED, KEPT)[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(chapter, place / chapter.name)


def _job(verb: str, *arguments: Any) -> None:
    subprocess.run([sys.executable, "-m", f"jobs.{verb}", *map(str, arguments)], cwd=ROOT, check=True)


def _few(curated: Run, run: Run) -> bool:
    """Copies curated rows, at most so many of each split, into a run folder as `curate` leaves it; returns whether
    there are questions among those to train on."""
    manifest = curated.require("curate")
    stage, counts, questions = run.begin("curate", manifest["key"]), {}, False
    for split, most in MOST.items():
        rows = curated.read_outputs(manifest, f"data/{split}").to_pylist()
        rows.sort(key=lambda row: (split == "golden" and row["kind"] != "qa", schema.shuffle_key(0, row["id"])))
        counts[split] = len(rows[:most])
        run.put(stage, f"data/{split}/00000.parquet", pa.Table.from_pylist(rows[:most], schema=schema.RECORD))
        questions |= split == "train" and any(row["kind"] == "qa" for row in rows[:most])
    run.commit(stage, {}, counts)
    return questions
