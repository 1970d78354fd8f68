"""The whole road of a model in a real shape: `python -m bench.ship --run DIR [--shape 7b] [--jobs train export ...]`.

The base has random weights in Mistral-7B's shape (`7b`), SOLAR's (`solar`) or one for a laptop (`tiny`) and the bundled
model's tokenizer; the rows are the bundled sample. Then the jobs run as a user runs them: curate, train, evaluate,
export with its gates, GGUF files with theirs, report. Finished jobs are skipped, so the command can be given again, or
job by job where a machine lends itself for minutes. Disk for `7b`: about 60 GB.

Output contract: the jobs' own output, then one line of JSON: seconds per job, what export and GGUF measured. A job that
misses a gate ends the run with its sentence, exit code 2, and the JSON all the same.
What this shows is that the road carries a model of that size, and what the gates measure on it. Random weights know
nothing: no figure here is about quality.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from bench.training.shape import SHAPES, write_random
from pipeline.config import model_path

ROOT = Path(__file__).parent.parent
JOBS = ("curate", "train", "evaluate", "export", "report")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_base(place: Path, shape: str) -> None:
    """Writes the base model, once: random weights, the bundled tokenizer."""
    if not (place / "config.json").exists():
        write_random(
            place, shape, _copy_tokenizer, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, pad_token_id=0
        )


def _copy_tokenizer(place: Path) -> None:
    for name in TOKENIZER:
        shutil.copyfile(Path(model_path("tiny-base")) / name, place / name)


def configure(place: Path, base: Path, epochs: float, rows: int, kinds: list[str]) -> None:
    """Writes the configuration of the run."""
    settings: dict[str, Any] = {
        "name": "shape",
        "base_model": str(base),
        "seed": 7,
        "train": {"max_length": 1024, "epochs": epochs, "learning_rate": 1e-3, "eval_every": 50},
        "evaluate": {"rows": 16, "max_new_tokens": 48},
        "export": {"rows": rows, "gguf": kinds},
    }
    place.write_text(yaml.safe_dump(settings, sort_keys=False))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ship", description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--run", required=True, type=Path, help="a folder with room for it")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="7b")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--rows", type=int, default=24, help="golden rows that the gates are measured on")
    parser.add_argument("--gguf", nargs="*", default=["f16", "q8_0", "q4_k_m"])
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    place = args.run.absolute()
    base, config, run = place / f"base-{args.shape}", place / "config.yaml", place / f"run-{args.shape}"
    started, seconds, code = time.monotonic(), {}, 0
    make_base(base, args.shape)
    seconds["base"] = round(time.monotonic() - started, 1)
    configure(config, base, args.epochs, args.rows, args.gguf)
    for job in args.jobs:
        started = time.monotonic()
        inputs = ["--input", str(ROOT / "assets" / "sample" / "dump")] if job == "curate" else []
        command = [sys.executable, "-m", f"jobs.{job}", str(config), "--run", str(run), *inputs]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        seconds[job] = round(time.monotonic() - started, 1)
        if code:
            break
    print(json.dumps({"shape": args.shape, "seconds": seconds, "code": code, **_measured(run)}))
    raise SystemExit(code)


def _measured(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("train", "evaluate", "export", "gguf"):
        path = run / "metrics" / f"{name}.json"
        if not path.exists():
            continue
        metrics = json.loads(path.read_text())
        keys = {"train": ("tokens_per_second", "peak_memory_gib", "device"), "evaluate": ("base", "tuned")}
        keys |= {"export": ("parameters", "dtype", "chosen", "bases"), "gguf": ("merged_perplexity", "files")}
        found[name] = {key: metrics[key] for key in keys[name]}
    return found


if __name__ == "__main__":
    main()
