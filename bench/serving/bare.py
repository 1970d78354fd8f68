"""The engine alone, no server: `python -m bench.serving.bare CONFIG RUN` measures loads until its input ends.

A load is a line of JSON: {"requests", "at_once", "max_tokens"} and perhaps "whole" and "seed"; the answer is one, too.
What is measured is the engine's own `generate`, fed with the very prompts that go over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from bench.serving.load import percentile, prompt


async def measure(engine: Any, load: dict[str, int]) -> dict[str, float]:
    """Returns tokens per second, and of one request the median time to its first token and between tokens."""
    from serve_app.engines import Generation, Prompt

    first: list[float] = []
    gaps: list[float] = []
    tokens = 0

    async def one(number: int) -> None:
        nonlocal tokens
        ids = engine.codec.render([{"role": "user", "content": prompt(number, load.get("seed", 0))}])
        began = last = time.perf_counter()
        async for chunk in engine.generate(
            Generation(Prompt(ids), load["max_tokens"], temperature=0.0, whole=load.get("whole", False))
        ):
            now = time.perf_counter()
            (gaps if last != began else first).append(now - last)
            last, tokens = now, tokens + len(chunk.token_ids)

    numbers = iter(range(load["requests"]))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(load["at_once"])))
    seconds = time.perf_counter() - began
    return {
        "tokens_per_second": tokens / seconds,
        "first_p50": percentile(first, 0.5),
        "step_p50": percentile(gaps, 0.5) if gaps else 0.0,
    }


async def _main(config_file: str, run_folder: str) -> None:
    from pipeline import config
    from pipeline.run import Run
    from serve_app.engines.load import load as load_engine

    engine = load_engine(config.load(config_file), Run.open(run_folder))
    await measure(engine, {"requests": 8, "at_once": 8, "max_tokens": 8})
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await measure(engine, json.loads(line))), flush=True)
    await engine.stop()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2]))
    sys.stdout.flush()
