"""Training speed of the train job on one GPU: `python bench/train_gpu.py [--targets qv,all-linear] [--no-recompute]`.

It makes a random Mistral-7B (bf16, byte tokenizer) and ticket-length rows (about 220 tokens), then runs the very code
of `jobs.train` (NF4, packed rows, Ray Train) once per choice of LoRA targets and prints a table. Output contract: the
table on stdout, everything else in a log file beside the scratch folder; the log's end is shown when a run fails.
It measures speed and memory only: random weights and random text learn nothing worth a look.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEAK = 790e12  # bf16 FLOP/s a Hopper card reaches in large matmuls; MFU is against this
FLOP = 4  # per parameter and token: forward and the backward through activations; frozen weights get no gradient
WARM_UP = 3  # steps left out of the figures
SHAPES = {
    "7b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 16},
}
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="optimiser steps per run, the first 3 not counted")
    parser.add_argument("--targets", default="qv,all-linear", help="LoRA targets, one run each")
    parser.add_argument("--pack-tokens", type=int, default=8192, help="tokens per packed row")
    parser.add_argument("--rows-per-step", type=int, default=1, help="packed rows per optimiser step")
    parser.add_argument("--no-recompute", action="store_true", help="keep all activations")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="7b", help="`tiny` tries the script itself")
    parser.add_argument("--scratch", default="/tmp/solotune-bench", help="folder for the model and the runs")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def make_model(place: Path, shape: str) -> None:
    """Writes a random Mistral and a tokenizer in which every byte is a token."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    vocabulary = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {f"w{i:05d}": i for i in range(len(vocabulary), 31998)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(place)
    config = MistralConfig(
        vocab_size=32000,
        num_key_value_heads=8,
        sliding_window=None,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SHAPES[shape],
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = MistralForCausalLM(config)
    model.save_pretrained(place, max_shard_size="4GB")
    torch.set_default_dtype(torch.float32)
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    (place / "done").touch()


def curated(run: Any, tokens: int) -> None:
    """Fills a run folder with random rows as `curate` would leave them: about `tokens` tokens to train on."""
    import pyarrow as pa

    from pipeline import schema

    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz      "

    def row(split: str, number: int) -> dict[str, Any]:
        size = min(1500, max(40, round(draw.lognormvariate(5.2, 0.55)))) - 16
        text = "".join(draw.choices(letters, k=size))
        cut = size * 9 // 20
        return {
            "id": f"{number:032x}",
            "source": "bench",
            "source_id": f"{split}-{number}",
            "kind": "qa",
            "prompt": text[:cut],
            "response": text[cut:],
            "origin": "real",
        }

    stage = run.begin("curate", f"bench-{tokens}")
    counts = {"train": tokens // 200, "val": 16}
    for split, count in counts.items():
        rows = [row(split, number) for number in range(count)]
        run.put(stage, f"data/{split}/00000.parquet", pa.Table.from_pylist(rows, schema=schema.RECORD))
    run.commit(stage, {}, counts)


def inner(args: argparse.Namespace) -> None:
    """Runs the train job once per target; writes one JSON line per run to `results.jsonl`."""
    import ray
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.run import Run
    from pipeline.train import qlora

    scratch = Path(args.scratch)
    base = scratch / f"mistral-{args.shape}"
    if not (base / "done").exists():
        began = time.monotonic()
        make_model(base, args.shape)
        print(f"model written in {time.monotonic() - began:.0f} s", flush=True)
    ray.init(include_dashboard=False, logging_level="ERROR")
    for targets in args.targets.split(","):
        run = Run.open(str(scratch / f"run-{targets}-{os.getpid()}"))
        curated(run, args.steps * args.rows_per_step * args.pack_tokens)
        settings = {
            "max_length": min(2048, args.pack_tokens),
            "pack_tokens": args.pack_tokens,
            "rows_per_step": args.rows_per_step,
            "epochs": 1,
            "recompute": not args.no_recompute,
            "eval_every": 10**6,
            "checkpoint_minutes": 60,
            "lora": {"targets": targets, "dropout": 0.05},
        }
        project = Project.model_validate({"name": "bench", "base_model": str(base), "train": settings})
        began = time.monotonic()
        metrics = qlora.train(project, run, Console(width=120))
        lines = [line for line in qlora.read_lines(run) if "loss" in line][WARM_UP:]
        speed = statistics.median(line["tokens"] / line["seconds"] for line in lines)
        width = SHAPES[args.shape]["hidden_size"]
        matmul = metrics["parameters"] - metrics["trainable_parameters"] - 32000 * width  # a look-up costs nothing
        result = {
            "targets": targets,
            "tokens_per_second": speed,
            "mfu": speed * FLOP * matmul / PEAK,
            "peak_gib": metrics["peak_memory_gib"],
            "steps": len(metrics["steps"]),
            "step_seconds": statistics.median(line["seconds"] for line in lines),
            "job_seconds": time.monotonic() - began,
            "loss": [metrics["steps"][0]["loss"], metrics["steps"][-1]["loss"]],
            "device": metrics["device"],
        }
        with (scratch / "results.jsonl").open("a") as stream:
            stream.write(json.dumps(result) + "\n")
    ray.shutdown()


def outer(args: argparse.Namespace) -> int:
    """Runs `inner` in a process whose every word goes to the log; prints the table. Returns the exit code."""
    scratch = Path(args.scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    results, log = scratch / "results.jsonl", scratch / "log.txt"
    results.unlink(missing_ok=True)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HUB_OFFLINE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("wb") as stream:
        command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--inner"]
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    if rows:
        first, kept = rows[0], "no recompute" if args.no_recompute else "every layer recomputed"
        print(
            f"{first['device']}, Mistral {args.shape} NF4, rows of {args.pack_tokens}, {kept}, {first['steps']} steps"
        )
        print(f"{'targets':<12}{'tokens/s':>10}{'MFU':>8}{'peak GiB':>10}{'s/step':>8}{'job s':>7}  loss")
    for row in rows:
        print(
            f"{row['targets']:<12}{row['tokens_per_second']:>10,.0f}{row['mfu']:>8.1%}{row['peak_gib']:>10.1f}"
            f"{row['step_seconds']:>8.2f}{row['job_seconds']:>7.0f}  {row['loss'][0]:.2f} -> {row['loss'][1]:.2f}"
        )
    if code:
        print(f"failed with code {code}; the end of {log}:\n" + log.read_text(errors="replace")[-4000:])
    return code


if __name__ == "__main__":
    chosen = arguments()
    if chosen.inner:
        inner(chosen)
    else:
        raise SystemExit(outer(chosen))
