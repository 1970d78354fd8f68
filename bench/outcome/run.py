"""Trains the cells and measures base and tuned models on the same golden rows, with the functions of the jobs.

Output contract: the JSON file holds `settings`, `device`, `base` (by set) and `cells` (by name): what each metric
counted in each golden row (`pipeline.evaluate.bootstrap.Statistics`), and what the training cost. It is written after
every cell; a cell that is in it is not run again. Neither Ray nor bitsandbytes is imported.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.outcome.cells import FULL, WAYS, Cell, Scale, Way, cells, project
from pipeline import storage
from pipeline.config import Project
from pipeline.errors import UserError
from pipeline.evaluate import general_text, heldout
from pipeline.evaluate.comparison import of_losses
from pipeline.evaluate.perplexity import answer_bytes, score_all
from pipeline.evaluate.text_metrics import rouge_l_counts
from pipeline.models import generate, load
from pipeline.models.load import Base
from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.data.pack import SUMMARY, pack

SHOWN = 3  # answers kept for people


class Copied(Base):
    """A base that is read from the disk once for each attention; `load` returns copies."""

    @cached_property
    def _read(self) -> dict[str, tuple[Any, Any]]:
        return {}

    def load(self, quantise: Any = None, device: str = "cpu", attention: str = "sdpa", dtype: Any = None) -> Any:
        """As `Base.load`, for one device and type."""
        if attention not in self._read:
            self._read[attention] = super().load(quantise, device, attention, dtype)
        model, tokenizer = self._read[attention]
        return copy.deepcopy(model), tokenizer


@dataclass(frozen=True)
class Bench:
    """What all cells share: the model, the prepared folder, how much is done, a folder for run folders."""

    model: Path
    prepared: Path
    scale: Scale
    scratch: Path
    base: Copied

    def project(self, way: Way = WAYS["general"], seed: int = 0) -> Project:
        """Returns the configuration of a cell; that of the measurement is the same for all."""
        return project(self.model, self.prepared, self.scale, way, seed)

    def rows(self, data: str) -> list[dict[str, Any]]:
        """Returns the golden rows of a set, questions first."""
        return heldout.golden_rows(self.project(), Run.open(str(self.prepared / data), make=False))[: self.scale.golden]


def run(
    model: Path,
    prepared: Path,
    results: Path,
    seeds: int,
    only: Sequence[str] = (),
    minutes: float | None = None,
    scale: Scale = FULL,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Runs the cells that `results` lacks; returns its content. No cell begins that could end after `minutes`."""
    begun, longest = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory(prefix="solotune-outcome-") as scratch:
        settings = project(model, prepared, scale)
        bench = Bench(model, prepared, scale, Path(scratch), Copied.of(settings))
        sets = _sets(prepared)
        found = _resumed(results, bench, list(sets))
        for cell in cells(sets, seeds, only):
            if str(cell) in found["cells"]:
                continue
            start = time.monotonic()
            if minutes is not None and start - begun + longest > minutes * 60:
                tell(f"stopped before {cell}: the time is up")
                break
            if cell.data not in found["base"]:
                found["base"][cell.data] = _measured(bench, cell.data, None)
            found["cells"][str(cell)] = done = _cell(bench, cell)
            _write(results, found)
            longest = max(longest, time.monotonic() - start)
            tell(f"{cell}: trained in {done['train_seconds']} s, measured in {done['seconds']} s")
    return found


def _sets(prepared: Path) -> dict[str, bool]:
    """Returns the sets that were prepared, and whether each has synthetic rows."""
    runs = {path.name: Run.open(str(path), make=False) for path in sorted(prepared.iterdir())}
    curated = {name: run for name, run in runs.items() if run.manifest("curate")}
    if not curated:
        raise UserError(f"{prepared} holds no prepared set: run `python -m bench.outcome prepare`")
    made = {name: run.manifest("synthesize") for name, run in curated.items()}
    return {name: bool(manifest and manifest["rows"]["kept"]) for name, manifest in made.items()}


def _resumed(results: Path, bench: Bench, sets: list[str]) -> dict[str, Any]:
    """Returns what was measured before; raises `UserError` where that was something else."""
    import torch

    keys = {name: Run.open(str(bench.prepared / name), make=False).require("curate")["key"] for name in sets}
    settings = {"model": bench.base.fingerprint, "rows": keys, **asdict(bench.scale)}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    fresh: dict[str, Any] = {"settings": settings, "device": device, "base": {}, "cells": {}}
    found: dict[str, Any] = json.loads(results.read_text()) if results.exists() else fresh
    if found["settings"] != settings:
        raise UserError(f"{results} was measured with another model, other rows or settings: name another file")
    return found


def _write(results: Path, found: dict[str, Any]) -> None:
    storage.write_whole(results, (json.dumps(found, ensure_ascii=False) + "\n").encode())


def _cell(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Trains and measures; returns both figures."""
    way = WAYS[cell.way]
    place = bench.scratch / cell.data / way.rows
    if not place.exists():
        shutil.copytree(bench.prepared / cell.data, place)
        if not way.synthetic:
            shutil.rmtree(place / "stages/synthesize", ignore_errors=True)
    trained = _train(bench, way, cell, Run.open(str(place)))
    return {**trained, **_measured(bench, cell.data, place / load.ADAPTER)}


def _train(bench: Bench, way: Way, cell: Cell, run: Run) -> dict[str, Any]:
    """Packs the rows, the same for every seed, and trains in this process as the job's worker does."""
    import torch

    start = time.monotonic()
    packed = pack(bench.project(way), bench.base, run, Console(quiet=True))
    place = run.local("stages/train/facts.json")
    place.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "project": bench.project(way, cell.seed),
        "base": bench.base,
        "run": run,
        "key": f"{cell}-{packed['key']}",
        "threads": torch.get_num_threads(),
        "facts": str(place),
    }
    shutil.rmtree(run.local(qlora.CHECKPOINTS), ignore_errors=True)
    qlora.work(settings)
    facts = json.loads(place.read_text())
    if facts["ended"] is not None:
        raise UserError(f"{cell}: {facts['ended'][1]}")
    load.release()
    lines = qlora.read_lines(run)
    counts = run.read_json(SUMMARY)["train"]
    return {
        "train_seconds": round(time.monotonic() - start, 1),
        "steps": sum("loss" in line for line in lines),
        "tokens": sum(line["tokens"] for line in lines if "loss" in line),
        "rows": counts["examples"],
        "general": counts["general"],
        "val_perplexity": [line["perplexity"] for line in lines if "eval_loss" in line],
        "trainable_parameters": facts["trainable_parameters"],
    }


def _measured(bench: Bench, data: str, adapter: Path | None) -> dict[str, Any]:
    """Returns what each metric counts in each golden row, of the base or with an adapter."""
    start = time.monotonic()
    settings = bench.project()
    model, tokenizer = bench.base.load(None, load.device())
    model = model if adapter is None else load.attach(model, adapter)
    rows = bench.rows(data)
    held, pieces = heldout.encode(settings, tokenizer, rows), general_text.pieces(settings, tokenizer)
    scores = score_all(model, held.examples, tokenizer.pad_token_id)
    kept = score_all(model, pieces, tokenizer.pad_token_id)
    losses = of_losses(scores, scores, answer_bytes(tokenizer, held.examples), held.starts)
    counts = {measure.name: measure.base.round(4).tolist() for measure in losses}
    counts["general"] = of_losses(kept, kept, [1] * len(kept))[0].base.round(4).tolist()
    asked = [row for row in rows if row["kind"] == "qa"][: settings.evaluate.rows]
    prompts, references = [row["prompt"] for row in asked], [row["response"] for row in asked]
    texts, ended = generate.complete(model, tokenizer, prompts, settings.evaluate.max_new_tokens)
    if asked:
        counts["rouge_l"] = rouge_l_counts(references, texts).round(4).tolist()
    del model
    load.release()
    return {
        "counts": counts,
        "ended": sum(ended) / len(ended) if ended else None,
        "answers": [{"prompt": p, "answer": a} for p, a in zip(prompts[:SHOWN], texts, strict=False)],
        "seconds": round(time.monotonic() - start, 1),
    }
