"""`python -m bench.training [--json] [--shape 7b] [--only PART,...]`: training speed on one card, ours and others'.

Output contract: with `--json` one object on stdout: `guide_tok_s, qv_tok_s, all_linear_tok_s, capped_24gib_tok_s,
x_guide, x_best_peer, x_fp8, ray_overhead, mfu, peak_gib`, and under `runs` what each run gave (null: not run, or it
failed, which the log in the scratch folder explains). Without it a table. Parts: guide, trl, ours, ray; each a process
of its own. A machine without a card takes the shape `tiny`: it tries the benchmark, and its figures mean nothing.
`capped_24gib_tok_s` is all-linear inside 24 GiB; `x_fp8` holds the ratio of each run in FP8 to the same in bf16, and
`x_best_peer` compares the faster of the two. MFU is of 790 TFLOP/s, what a Hopper card reaches in large bf16
matmuls, at 4 FLOP per parameter and token (forward, and backward through frozen weights).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.training import shape
from bench.training.ours import Variant, measure

ROOT = Path(__file__).resolve().parents[2]
PEAK = 790e12
FLOP = 4
PARTS = ("guide", "trl", "ours", "ray")


def variants(name: str) -> list[Variant]:
    """Returns what of ours is measured on a shape."""
    if name == "tiny":
        small = [Variant("qv", "qv", 512), Variant("all_linear", "all-linear", 512)]
        return [*small, *map(_fp8, small)]
    if name == "solar":
        capped = Variant("all_linear_24", "all-linear", 3072, cap=24.0, rows_per_step=4)
        return [capped, _fp8(capped)]
    whole = [Variant("qv", "qv", 16384), Variant("all_linear", "all-linear", 16384)]
    capped_7b = [
        Variant("qv_24", "qv", 6144, cap=24.0, rows_per_step=3),
        Variant("all_linear_24", "all-linear", 6144, cap=24.0, rows_per_step=3),
    ]
    return [*whole, *capped_7b, *(_fp8(variant, held=True) for variant in whole), *map(_fp8, capped_7b)]


def _fp8(variant: Variant, held: bool = False) -> Variant:
    """FP8 as the planner has it: weights held, or expanded at every use and a row as one graph, where the host is
    slower."""
    return replace(variant, name=f"{variant.name}_fp8", compute="fp8_held" if held else "fp8", graph=not held)


def part(name: str, base: Path, scratch: Path, results: Path, chosen: str) -> None:
    """Runs one part in this process; appends a line per run to `results`."""
    from bench.training import peers

    linear = "all-linear"
    runs: dict[str, list[Any]] = {
        "guide": [lambda: peers.guide(base, scratch)],
        "trl": [
            lambda: peers.trl(base, scratch, ["q_proj", "v_proj"], "trl_qv"),
            lambda: peers.trl(base, scratch, linear, "trl_all_linear"),
        ],
        "ours": [lambda v=v: measure(base, scratch, v) for v in variants(chosen)],
        "ray": [lambda: {**measure(base, scratch, variants(chosen)[0], True), "name": "ray"}],
    }
    if name == "ray":
        import ray

        ray.init(include_dashboard=False, logging_level="ERROR")
    for run in runs[name]:
        try:
            line = run()
        except Exception:  # the other runs of the part still count; the log has the whole of it
            traceback.print_exc()
            continue
        with results.open("a") as stream:
            stream.write(json.dumps(line) + "\n")


def summary(runs: dict[str, dict[str, Any]], chosen: str) -> dict[str, Any]:
    """Returns the benchmark's figures from its runs."""

    def speed(name: str) -> float | None:
        return round(runs[name]["tokens_per_second"], 1) if name in runs else None

    def ratio(over: str, under: str) -> float | None:
        both = over in runs and under in runs
        return runs[over]["tokens_per_second"] / runs[under]["tokens_per_second"] if both else None

    def best(name: str) -> str:
        return f"{name}_fp8" if f"{name}_fp8" in runs else name

    pairs = [ratio(best(name), f"trl_{name}") for name in ("qv", "all_linear")]
    peers = [x for x in pairs if x is not None]
    low = {name: ratio(f"{name}_fp8", name) for name in runs}
    overhead, guide = ratio("ray", "qv"), ratio("all_linear", "guide")
    mfu = None
    if "all_linear" in runs:
        matmul = runs["all_linear"]["parameters"] - shape.VOCABULARY * shape.SHAPES[chosen]["hidden_size"]
        mfu = round(runs["all_linear"]["tokens_per_second"] * FLOP * matmul / PEAK, 4)
    return {
        "guide_tok_s": speed("guide"),
        "qv_tok_s": speed("qv"),
        "all_linear_tok_s": speed("all_linear"),
        "capped_24gib_tok_s": speed("all_linear_24"),
        "x_guide": None if guide is None else round(guide, 2),
        "x_best_peer": round(min(peers), 2) if peers else None,
        "x_fp8": {name: round(x, 3) for name, x in low.items() if x is not None},
        "ray_overhead": None if overhead is None else round(1 - overhead, 4),
        "mfu": mfu,
        "peak_gib": round(runs["all_linear"]["peak_gib"], 1) if "all_linear" in runs else None,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--shape", choices=sorted(shape.SHAPES), help="7b with a card, tiny without")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts to run, of {','.join(PARTS)}")
    parser.add_argument("--scratch", default="/tmp/solotune-bench", help="folder for the model, the runs and the log")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    args = parser.parse_args()
    scratch = Path(args.scratch).absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    import torch

    chosen = args.shape or ("7b" if torch.cuda.is_available() else "tiny")
    base, results, log = scratch / f"mistral-{chosen}", scratch / "results.jsonl", scratch / "log.txt"
    if args.part:
        shape.make_model(base, chosen)
        part(args.part, base, scratch, results, chosen)
        return 0
    results.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment |= {"HF_HUB_OFFLINE": "1", "PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    with log.open("wb") as stream:
        for name in args.only.split(","):
            command = [sys.executable, "-m", "bench.training", "--part", name, "--shape", chosen]
            command += ["--scratch", str(scratch)]
            subprocess.run(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False)
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    runs = {line["name"]: line for line in lines}
    found = summary(runs, chosen)
    if args.json:
        print(json.dumps({**found, "runs": runs, "device": _device(), "shape": chosen, "log": str(log)}))
    else:
        for line in lines:
            peak = f"{line['peak_gib']:.1f} GiB" if line["peak_gib"] else ""
            print(f"{line['name']:<16}{line['tokens_per_second']:>10,.0f} tokens/s  {peak}")
        print("  ".join(f"{name} {value}" for name, value in found.items()))
    return 0 if lines else 1


def _device() -> str:
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "CPU"


if __name__ == "__main__":
    raise SystemExit(main())
