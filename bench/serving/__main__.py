"""`python -m bench.serving [--quick] [--json] [--engine vllm --model DIR]`: the service against the bare engine.

Output contract: with `--json` one object: `overhead_p50_ms, throughput_loss, interchunk_p99_x_step,
x_transformers_serve, lost_requests` (null: not measured), and under `details` what they come from. Without a model the
small one of this project is served on the CPU, and the fake engine, which takes no time:
- `overhead_p50_ms`: a one-token answer of the fake engine over HTTP, the engine's own time taken off;
- `throughput_loss`: of 32 streams, against the engine alone, the worse of the fake engine (a token every 20 ms) and the
  small model (whose client and server share the machine's cores, and which is measured alone and served in turns);
- `interchunk_p99_x_step`: the 99th percentile of the time between events, in steps of the fake engine (50 ms);
- `x_transformers_serve`: tokens per second of 32 streams against `transformers serve` on the same model;
- `lost_requests`: of 1,000 connections opened at once, those neither answered nor refused with 429.
With `--engine vllm` on a GPU: 64 and 256 requests unstreamed and 64 streamed against vLLM alone, 128 tokens out;
no prompt is used twice. `python -m bench.serving.public` has vLLM's own client measure us and vLLM's own server.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from bench.exported import exported
from bench.serving import load, servers
from bench.serving.load import Load, Target

TINY = servers.ROOT / "assets" / "tiny-base"
FAKE = {"engine": "fake", "max_new_tokens": 256, "max_input_tokens": 512, "concurrency": 64, "queue": 700}
SMALL = {"engine": "hf", "max_new_tokens": 256, "max_input_tokens": 512, "concurrency": 32, "queue": 64}
CLIENTS = 8  # processes that put the load on a GPU's server: its machine has cores for them
STARTS = 3  # of the small model: from start to start its speed differs by some percent
ROUNDS = 3  # in each start: one takes a second and a half, and may be off by a tenth


def hop(scratch: Path, run: Path, quick: bool) -> dict[str, Any]:
    """The way through the service, on the fake engine."""
    asked = 200 if quick else 2000
    at_once = {**FAKE, "fake": {"interval": 0.0}}
    with servers.bare(run, at_once, scratch / "bare-fake.log") as measure:
        alone = measure({"requests": asked, "at_once": 1, "max_tokens": 1})
    with servers.ours(run, at_once, scratch / "fake.log") as target:
        load.run(target, Load(50, 2, max_tokens=1, stream=False))  # warm
        answers, _ = load.run(target, Load(asked, 1, max_tokens=1, stream=False))
        crowd, _ = load.run(target, Load(1000, 1000, max_tokens=64))
        arrivals, _ = load.run(target, Load(300 if quick else 3000, rate=100.0, max_tokens=16))
    return {
        "overhead_p50_ms": 1000 * (load.middle([answer.seconds for answer in answers]) - alone["first_p50"]),
        "lost_requests": load.lost(crowd) + load.lost(arrivals),
        "crowd_answered": sum(answer.status == 200 for answer in crowd),
        "crowd_refused": sum(answer.status == load.REFUSED for answer in crowd),
        "open_loop_p95_ms": 1000 * load.percentile([answer.seconds for answer in arrivals], 0.95),
    }


def streams(scratch: Path, run: Path, quick: bool) -> dict[str, Any]:
    """32 streams of an engine whose steps take a known time."""
    found: dict[str, Any] = {}
    for name, step in (("loss_fake", 0.02), ("gap", 0.05)):
        settings = {**FAKE, "fake": {"interval": step, "length": 0}}
        tokens = 64 if quick else 128
        with servers.bare(run, settings, scratch / f"bare-{name}.log") as measure:
            alone = measure({"requests": 64, "at_once": 32, "max_tokens": tokens})
        with servers.ours(run, settings, scratch / f"{name}.log") as target:
            load.run(target, Load(32, 32, max_tokens=8))
            answers, seconds = load.run(target, Load(64, 32, max_tokens=tokens))
        gaps = [gap for answer in answers for gap in answer.gaps]
        found[name] = 1 - load.speed(answers, seconds) / alone["tokens_per_second"]
        found[f"{name}_p99_x_step"] = load.percentile(gaps, 0.99) / alone["step_p50"]
    return found


def small(scratch: Path, run: Path, quick: bool) -> dict[str, Any]:
    """The small model: the engine alone and the service in turns, both there all the time; then transformers."""
    tokens, requests = (64, 64) if quick else (128, 256)
    shape = {"requests": requests, "at_once": 32, "max_tokens": tokens}
    pairs = []
    for _ in range(STARTS):
        with (
            servers.bare(run, SMALL, scratch / "bare-hf.log") as measure,
            servers.ours(run, SMALL, scratch / "hf.log") as target,
        ):
            measure({"requests": 32, "at_once": 32, "max_tokens": 8})
            load.run(target, Load(32, 32, max_tokens=8))
            pairs += [(measure(shape)["tokens_per_second"], _speed(target, requests, tokens)) for _ in range(ROUNDS)]
    with servers.transformers_serve(TINY, scratch / "transformers.log") as target:
        load.run(target, Load(32, 32, max_tokens=8))
        theirs = load.middle([_speed(target, requests, tokens) for _ in range(ROUNDS)])
    return {
        "loss_small": load.middle([1 - served / alone for alone, served in pairs]),
        "bare": load.middle([alone for alone, _ in pairs]),
        "ours": load.middle([served for _, served in pairs]),
        "transformers": theirs,
    }


def _speed(target: Target, requests: int, tokens: int) -> float:
    return load.speed(*load.run(target, Load(requests, 32, max_tokens=tokens)))


def big(scratch: Path, model: Path, engine: str) -> dict[str, Any]:
    """A large model on a GPU: unstreamed at 64 and 256 requests, 64 streams; against the engine alone."""
    run = exported(scratch / "big", model).local()
    settings = {**servers.LARGE, "engine": engine}
    shapes = [
        {"requests": count * 4, "at_once": count, "max_tokens": 128, "whole": True, "seed": count}
        for count in (64, 256)
    ]
    warm = {**shapes[0], "seed": 1}
    with servers.bare(run, settings, scratch / "bare-big.log") as measure:
        measure(warm)
        alone = [measure(shape) for shape in shapes]
    found: dict[str, Any] = {}
    with servers.ours(run, settings, scratch / "big.log") as target:
        load.run(target, Load(warm["requests"], 64, max_tokens=128, stream=False, seed=1), CLIENTS)
        for shape, before in zip(shapes, alone, strict=True):
            count = shape["at_once"]
            asked = Load(shape["requests"], count, max_tokens=128, stream=False, seed=count)
            answers, seconds = load.run(target, asked, CLIENTS)
            found[f"bare_{count}"] = before["tokens_per_second"]
            found[f"unstreamed_{count}"] = load.speed(answers, seconds)
        answers, seconds = load.run(target, Load(256, 64, max_tokens=128, seed=2), CLIENTS)
        first = [answer.first for answer in answers]
        found |= {
            "streamed_64": load.speed(answers, seconds),
            "ttft_p50_ms": 1000 * load.percentile(first, 0.5),
            "ttft_p95_ms": 1000 * load.percentile(first, 0.95),
        }
        crowd, seconds = load.run(target, Load(1000, 1000, max_tokens=128, seed=3), CLIENTS)
        found |= {
            "lost_requests": load.lost(crowd),
            "crowd_answered": sum(answer.status == 200 for answer in crowd),
            "crowd_tokens_per_second": load.speed(crowd, seconds),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--engine", choices=("vllm", "hf"), help="with --model: measure a large model on a GPU")
    parser.add_argument("--model", type=Path, help="folder of the large model")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="solotune-bench-") as name:
        scratch = Path(name)
        if args.model:
            details = big(scratch, args.model, args.engine or "vllm")
            found = dict.fromkeys(("overhead_p50_ms", "interchunk_p99_x_step", "x_transformers_serve"))
            found |= {"throughput_loss": 1 - details["unstreamed_64"] / details["bare_64"]}
            found |= {"lost_requests": details["lost_requests"]}
        else:
            run = exported(scratch / "run", TINY).local()
            details = {part.__name__: part(scratch, run, args.quick) for part in (hop, streams, small)}
            found = {
                "overhead_p50_ms": details["hop"]["overhead_p50_ms"],
                "throughput_loss": max(details["streams"]["loss_fake"], details["small"]["loss_small"]),
                "interchunk_p99_x_step": details["streams"]["gap_p99_x_step"],
                "x_transformers_serve": details["small"]["ours"] / details["small"]["transformers"],
                "lost_requests": details["hop"]["lost_requests"],
            }
    shown = {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}
    if args.json:
        print(json.dumps({**shown, "details": details}))
    else:
        for key, value in {**shown, **details}.items():
            print(f"{key:<24}{value}")


if __name__ == "__main__":
    main()
