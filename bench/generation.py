"""Answers as evaluation gives them, old and new, in one run: `python -m bench.generation [--model DIR] [--rows 200]`.

Old is transformers' `generate` in batches of 16 that end with their longest answer, as evaluation did it; new is what
`pipeline.models.generate` does now. Both answer the same questions (tickets of the bundled sample) with the same model
in memory, greedily, on the GPU where there is one; loading is not counted, capturing CUDA graphs is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.curation.sample import ROOT, tickets
from pipeline.generation import Prompts, continuous, lock_step
from pipeline.models import load, memory
from pipeline.models.template import chat_prompt, stop_ids

Answers = Callable[[Prompts], Iterator[tuple[int, list[int]]]]


def timed(answers: Answers, prompts: Prompts) -> tuple[float, dict[int, list[int]]]:
    """Returns seconds and tokens by position."""
    start = time.perf_counter()
    answered = dict(answers(prompts))
    return time.perf_counter() - start, answered


def measure(model: Any, prompts: Prompts) -> dict[str, Any]:
    """Returns answers and tokens per second of both, new over old, and the share of answers that are equal."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model

    def new(asked: Prompts) -> Iterator[tuple[int, list[int]]]:
        return continuous.answers(causal, asked, memory.free_bytes(causal.device.type))

    def old(asked: Prompts) -> Iterator[tuple[int, list[int]]]:
        return lock_step.answers(causal, asked)

    first = Prompts(prompts.ids[:2], prompts.stop_ids, prompts.pad_id, 4)
    for side in (new, old):
        list(side(first))
    seconds, answered = timed(new, prompts)
    old_seconds, old_answered = timed(old, prompts)
    count, tokens = len(prompts.ids), sum(map(len, answered.values()))
    return {
        "answers": count,
        "tokens_per_answer": tokens / count,
        "old_answers_per_second": count / old_seconds,
        "new_answers_per_second": count / seconds,
        "new_tokens_per_second": tokens / seconds,
        "new_x_old": old_seconds / seconds,
        "equal": sum(answered[position] == old_answered[position] for position in answered) / count,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.generation", description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "tiny-base", help="a model folder")
    parser.add_argument("--adapter", type=Path, help="the folder of an adapter of it")
    parser.add_argument("--rows", type=int, default=200, help="how many questions")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="per answer")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    model, tokenizer = load.Base(str(given.model), given.model, None, given.model).load(device=load.device())
    if given.adapter is not None:
        model = load.attach(model, given.adapter)
    questions = [row["prompt"] for row in tickets(given.rows).to_pylist()]
    ids = [chat_prompt(tokenizer, [{"role": "user", "content": question}]) for question in questions]
    stops = stop_ids(tokenizer, model.generation_config)
    found = measure(model, Prompts(ids, stops, tokenizer.pad_token_id, given.max_new_tokens))
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name.replace('_', ' '):>24}  {value:,.2f}")


if __name__ == "__main__":
    main()
