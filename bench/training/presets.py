"""`python -m bench.training.presets NAME[:HOW...] ...`: training speed of presets with random weights, beside the plan.

Output contract: a line per run, as it is done: tokens/s, the share of the card's peak, peak GiB, what the planner says.
NAME is a preset's; HOW is any of `eager` (no CUDA graph), `padded` (no packed rows), `qv`, `bf16` (not quantised),
`fp8`, `short` (a quarter of the layers). Each run is a process of its own. Rows have 16,384 tokens, examples about 220.
MFU is of 790 TFLOP/s at 4 FLOP per parameter of a linear layer and token.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.training import shape
from bench.training.ours import Variant, measure
from pipeline.config.train import Lora
from pipeline.models import architectures
from pipeline.plan import cards, cost_model
from pipeline.plan.presets import PRESETS, Preset

ROOT = Path(__file__).resolve().parents[2]
PEAK, FLOP, TOKENS = 790e12, 4, 16384


def make_model(preset: Preset, place: Path) -> None:
    """Writes the text part of a preset with random bf16 weights, once."""
    if (place / "config.json").exists():
        return
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = shape.byte_tokenizer()
    text = dict(architectures.text_part(preset.config))
    kind = text.pop("model_type")
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(kind, **{**text, **ends, "dtype": "bfloat16"})
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(place, max_shard_size="4GB")
    tokenizer.save_pretrained(place)
    del model


def run(text: str, scratch: Path, tokens: int) -> dict[str, Any]:
    """Measures one run and returns its line."""
    name, *how = text.split(":")
    preset = next(preset for preset in PRESETS if preset.name == name)
    if "short" in how:
        layers = int(architectures.text_part(preset.config)["num_hidden_layers"]) // 4
        preset = replace(preset, name=f"{name}-short", config={**preset.config, "num_hidden_layers": layers})
    place = scratch / preset.name
    make_model(preset, place)
    targets = "qv" if "qv" in how else "all-linear"
    compute: cost_model.Compute = "fp8" if "fp8" in how else "bf16"
    quantise = None if "bf16" in how else "nf4"
    lora = Lora(targets=targets)
    plan = cost_model.assess(preset.shape, lora, cards.card("H200"), tokens, 0, quantise, compute=compute)
    variant = Variant(
        text.replace(":", "-"), targets, tokens, steps=16, graph=plan.graph and "eager" not in how,
        padded="padded" in how, quantise=quantise, compute=compute,
    )  # fmt: skip
    got = measure(place, scratch, variant)
    rate = got["tokens_per_second"]
    return {
        "run": text,
        "tokens_per_second": round(rate),
        "planned": round(plan.tokens_per_second),
        "mfu": round(rate * FLOP * preset.shape.linear / PEAK, 3),
        "peak_gib": round(got["peak_gib"], 1),
        "losses": [round(loss, 4) for loss in got["losses"]],
    }


def main() -> None:
    """Runs what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME[:HOW...]")
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/solotune-presets"))
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.scratch.mkdir(parents=True, exist_ok=True)
    if args.here:
        print(json.dumps(run(args.runs[0], args.scratch.absolute(), args.tokens)))
        return
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    for text in args.runs:
        command = [sys.executable, "-m", "bench.training.presets", text, "--here", "--scratch", str(args.scratch)]
        command += ["--tokens", str(args.tokens)]
        with (args.scratch / f"{text.replace(':', '-')}.log").open("wb") as log:
            done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, check=False)
        lines = done.stdout.decode().splitlines()
        print(lines[-1] if done.returncode == 0 and lines else f"{text}: failed, see {log.name}", flush=True)


if __name__ == "__main__":
    main()
