"""Base against tuned on the golden set.

Output contract: `metrics/evaluate.json` `{base: {perplexity, rouge_l}, tuned: {...}, rows, generated, samples}`,
committed as stage `evaluate`. Base and tuned are one loaded model with the adapter off and on, so they differ in
nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from pipeline import batch
from pipeline.config import Project
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.run import Run, code_version, fingerprint


def evaluate(project: Project, run: Run, console: Console) -> dict[str, Any]:
    """Measures base and tuned model on the golden set; returns the content of `metrics/evaluate.json`."""
    curated, trained = run.require("curate"), run.require("train")
    settings = project.evaluate
    key = fingerprint(curated["key"], trained["key"], settings.model_dump(), project.seed, code_version("evaluate"))
    if run.manifest("evaluate", key) is not None:
        console.print("  finished before: nothing has changed since")
        return dict(run.read_json("metrics/evaluate.json"))
    rows = run.read_outputs(curated, "data/golden").to_pylist()
    if not rows:
        raise InputError(f"{run.uri} has an empty golden set: curate more rows, or set curate.split.golden higher")
    chosen = sorted(rows, key=lambda row: hashlib.blake2b(f"{project.seed}:{row['id']}".encode()).digest())
    chosen = chosen[: settings.rows]
    stage = run.begin("evaluate", key)
    metrics: dict[str, Any] = {}
    with Meter(console, "base and tuned on the golden set", 2 * (len(rows) + len(chosen))) as meter:
        for step in batch.stream(lambda: _measure(project, run, rows, chosen)):
            meter.advance(step.get("rows", 0))
            metrics.update(step.get("metrics", {}))
    run.put_json(stage, "metrics/evaluate.json", metrics)
    run.commit(stage, inputs=trained["key"], rows={"golden": len(rows)})
    return metrics


def _measure(project: Project, run: Run, rows: list[Any], chosen: list[Any]) -> Iterator[dict[str, Any]]:
    """Runs where the hardware is; yields `{rows}` as they are done and `{metrics}` last."""
    import contextlib

    from pipeline.evaluate.generate import by_length, complete
    from pipeline.evaluate.metrics import rouge_l
    from pipeline.evaluate.perplexity import answer_loss, perplexity
    from pipeline.train.model import device, load_tuned

    settings = project.evaluate
    model, tokenizer = load_tuned(run, project, device())
    model.eval()
    metrics: dict[str, Any] = {}
    answers: dict[str, list[str]] = {}
    for name in ("base", "tuned"):
        with model.disable_adapter() if name == "base" else contextlib.nullcontext():
            parts = list(answer_loss(model, tokenizer, rows, project.train.max_length))
            yield {"rows": len(rows)}
            prompts, texts = [row["prompt"] for row in chosen], [""] * len(chosen)
            for positions in by_length(tokenizer, prompts, settings.batch_size):
                found, _ = complete(model, tokenizer, [prompts[at] for at in positions], settings.max_new_tokens)
                for at, text in zip(positions, found, strict=True):
                    texts[at] = text
                yield {"rows": len(positions)}
        answers[name] = texts
        score = rouge_l([row["response"] for row in chosen], texts)
        metrics[name] = {"perplexity": round(perplexity(parts), 4), "rouge_l": round(score, 4)}
    samples = [
        {
            "id": row["id"],
            "prompt": row["prompt"],
            "reference": row["response"],
            "base": answers["base"][at],
            "tuned": answers["tuned"][at],
        }
        for at, row in enumerate(chosen[: settings.samples])
    ]
    yield {"metrics": {**metrics, "rows": len(rows), "generated": len(chosen), "samples": samples}}
