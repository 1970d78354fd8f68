"""Our training loop, bare and through Ray Train: the very code of `jobs.train` with the settings of a variant."""

from __future__ import annotations

import gc
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.training import shape

WARM_UP = 3  # steps left out of the figures


@dataclass(frozen=True)
class Variant:
    """What is trained and how: `cap` in GiB of GPU memory, `recompute` as `train.recompute` in the configuration;
    `compute`: what frozen products are computed in; `padded`: a hybrid's rows are padded batches though its kernels are
    there."""

    name: str
    targets: str
    pack_tokens: int
    recompute: Any = False
    cap: float | None = None
    rows_per_step: int = 1
    steps: int = 12
    graph: bool = False  # one CUDA graph per row
    padded: bool = False
    quantise: str | None = "nf4"
    compute: str = "bf16"  # or fp8, or fp8_held: weights in both layouts kept


def measure(base: Path, scratch: Path, variant: Variant, through_ray: bool = False) -> dict[str, Any]:
    """Trains a variant on the model at `base`; returns real tokens/s (median over steps), peak GiB and the losses."""
    import torch
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.models.load import Base
    from pipeline.run import Run
    from pipeline.train import qlora
    from pipeline.train.data import pack
    from pipeline.train.kernels import delta_net

    installed = delta_net.installed()
    delta_net.installed = lambda: installed and not variant.padded
    run = Run.open(str(scratch / f"run-{variant.name}-{'ray' if through_ray else 'bare'}-{time.time_ns()}"))
    shape.curated(run, variant.steps * variant.rows_per_step * variant.pack_tokens)
    settings = {
        "max_length": min(2048, variant.pack_tokens),
        "pack_tokens": variant.pack_tokens,
        "rows_per_step": variant.rows_per_step,
        "epochs": 1,
        "recompute": variant.recompute,
        "eval_every": 10**6,
        "checkpoint_minutes": 60,
        "lora": {"targets": variant.targets, "dropout": 0.0},
        "quantise": variant.quantise,
        "compute": variant.compute.removesuffix("_held"),
    }
    project = Project.model_validate({"name": "bench", "base_model": str(base), "train": settings})
    if through_ray:
        facts = qlora.train(project, run, Console(width=120))
    else:
        packed = pack.pack(project, Base.of(project), run, Console(width=120))
        place = run.local("stages/train/facts.json")
        place.parent.mkdir(parents=True, exist_ok=True)
        run.local("metrics").mkdir(exist_ok=True)
        cuda = torch.cuda.is_available()
        if cuda:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            whole = torch.cuda.get_device_properties(0).total_memory / 2**30
            torch.cuda.set_per_process_memory_fraction(1.0 if variant.cap is None else variant.cap / whole)
        qlora.work(
            {
                "project": project,
                "base": Base.of(project),
                "run": run,
                "key": packed["key"],
                "compute": variant.compute,
                "graph": variant.graph,
                "threads": torch.get_num_threads(),
                "facts": str(place),
            }
        )
        facts = json.loads(place.read_text())
        if cuda:
            facts["peak_memory_gib"] = torch.cuda.max_memory_reserved() / 2**30  # what a smaller card must have
    lines = [line for line in qlora.read_lines(run) if "loss" in line]
    return {
        "name": variant.name,
        "tokens_per_second": statistics.median(line["tokens"] / line["seconds"] for line in lines[WARM_UP:]),
        "peak_gib": facts["peak_memory_gib"],
        "losses": [lines[0]["loss"], lines[-1]["loss"]],
        "parameters": facts["parameters"] - facts["trainable_parameters"],
        "fp8": facts["fp8"],
    }
