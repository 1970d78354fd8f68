"""`python -m bench.serving.public --model DIR [--quick] [--json]`: load from vLLM's own client, on us and on vLLM.

Output contract: `compare` returns, for `ours` and for `vllm`, what each load gave: `tokens_per_second` of answers,
`ttft_p50_ms`, `ttft_p95_ms`, `failed`. The loads come from `vllm bench serve` on the chat API, streamed and greedy:
closed loop of 64 and of 256 requests, open loop at `RATE` a second; 128 random tokens in, up to 128 out. Both servers
run the same model, one after the other, with the same limits.
The client's own data set `random` always sends `ignore_eos`, and its completions backend `repetition_penalty`: our API
refuses what OpenAI's does not have. So the same kind of prompts goes in as a file in ShareGPT's format.
None of it runs where vLLM is not installed: `compare` then returns None.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bench.exported import exported
from bench.serving import servers
from bench.serving.load import Target

TOKENS = 128  # of a prompt, and of an answer
RATE = 20.0  # requests a second of the open loop
SETTINGS = {**servers.LARGE, "engine": "vllm"}


def measure(target: Target, tokenizer: Path, shape: dict[str, Any], folder: Path, seed: int = 0) -> dict[str, float]:
    """Puts one load on a server; `shape` has `requests`, and `at_once` or `rate`. Raises where the client fails.

    Another `seed` is other prompts, of which no server has anything in its cache.
    """
    write_prompts(tokenizer, shape["requests"], seed, folder / "prompts.json")
    result = folder / "bench.json"
    result.unlink(missing_ok=True)
    command = client(target, tokenizer, shape, result)
    environment = {**os.environ, "OPENAI_API_KEY": target.key, "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode or not result.exists():
        raise RuntimeError(f"vllm bench serve failed: {done.stdout.decode(errors='replace')[-1500:]}")
    return read(json.loads(result.read_text()))


def write_prompts(tokenizer: Path, count: int, seed: int, place: Path) -> None:
    """Writes prompts of random tokens. Decoding and encoding again makes them a few tokens longer or shorter."""
    from transformers import AutoTokenizer

    words, draw = AutoTokenizer.from_pretrained(tokenizer), random.Random(seed)
    usual = [token for token in range(len(words)) if token not in words.all_special_ids]
    texts = [words.decode(draw.choices(usual, k=TOKENS)) for _ in range(count)]
    place.write_text(json.dumps([{"conversations": [{"value": text}, {"value": "-"}]} for text in texts]))


def client(target: Target, tokenizer: Path, shape: dict[str, Any], result: Path) -> list[str]:
    """Returns the command of `vllm bench serve`; the prompts lie beside `result`."""
    options = {
        "--backend": "openai-chat",
        "--base-url": target.url.removesuffix("/v1"),
        "--endpoint": "/v1/chat/completions",
        "--model": target.model,
        "--tokenizer": tokenizer,
        "--dataset-name": "sharegpt",
        "--dataset-path": result.with_name("prompts.json"),
        "--sharegpt-output-len": TOKENS,
        "--num-prompts": shape["requests"],
        "--temperature": 0,
        "--seed": 0,
        "--percentile-metrics": "ttft,itl,e2el",
        "--metric-percentiles": "50,95",
        "--result-dir": result.parent,
        "--result-filename": result.name,
    }
    loop = {"--max-concurrency": shape["at_once"]} if "at_once" in shape else {"--request-rate": shape["rate"]}
    given = [str(part) for option in (options | loop).items() for part in option]
    return [*servers.VLLM, "bench", "serve", *given, "--save-result", "--disable-tqdm"]


def read(result: dict[str, Any]) -> dict[str, float]:
    """Returns what is reported of the client's result file."""
    return {
        "tokens_per_second": result["output_throughput"],
        "ttft_p50_ms": result["p50_ttft_ms"],
        "ttft_p95_ms": result["p95_ttft_ms"],
        "failed": result["failed"],
    }


def compare(scratch: Path, model: Path, quick: bool = False) -> dict[str, dict[str, dict[str, float]]] | None:
    """Measures us, then vLLM's server; None where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        return None
    times = 2 if quick else 4
    shapes: dict[str, dict[str, Any]] = {
        f"closed_{at_once}": {"requests": at_once * times, "at_once": at_once} for at_once in (64, 256)
    }
    shapes["open"] = {"requests": int(RATE) * 10 * times // 2, "rate": RATE}
    run = exported(scratch / "public", model).local()
    found = {}
    for name, server in (
        ("ours", lambda: servers.ours(run, SETTINGS, scratch / "public-ours.log")),
        ("vllm", lambda: servers.vllm_serve(run / "model" / "merged", scratch / "public-vllm.log")),
    ):
        with server() as target:
            measure(target, model, {"requests": 64, "at_once": 64}, scratch)  # warm
            found[name] = {
                load: measure(target, model, shape, scratch, seed)
                for seed, (load, shape) in enumerate(shapes.items(), 1)
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="solotune-bench-") as name:
        found = compare(Path(name), args.model, args.quick)
    if args.json or found is None:
        print(json.dumps(found))
        return
    for server, loads in found.items():
        for load, numbers in loads.items():
            print(server, load, *[f"{key}={value:.1f}" for key, value in numbers.items()])


if __name__ == "__main__":
    main()
