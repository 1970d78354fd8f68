"""Base against tuned on the golden set.

Output contract: `metrics/evaluate.json`: `{base, tuned}` with every metric's score, `intervals`, `groups` by label and
language, how the base was `held`, `forgetting` on general text, `harness`, what was `skipped` and why, `notes` on
metrics, `rows`, `generated`, `samples`; committed as stage `evaluate`. Base and tuned are one loaded model with the
adapter off and on, so they differ in nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

from rich.console import Console

from pipeline import batch
from pipeline.config import Project
from pipeline.errors import MissingModelError
from pipeline.evaluate import bertscore, bootstrap, comparison, general_text, harness, heldout
from pipeline.evaluate.perplexity import TokenScores, answer_bytes, perplexity, score_all, score_tokens
from pipeline.evaluate.text_metrics import ratio
from pipeline.formats import FORMATS
from pipeline.model_fingerprint import model_fingerprint
from pipeline.models import generate, load
from pipeline.models.load import Base
from pipeline.models.template import template_sha256
from pipeline.progress import Meter
from pipeline.run import Run, fingerprint

METRICS = "metrics/evaluate.json"


def evaluate(project: Project, run: Run, console: Console) -> dict[str, Any]:
    """Measures base and tuned model on the golden set; returns the content of `metrics/evaluate.json`."""
    curated, trained = run.require("curate"), run.require("train")
    settings = project.evaluate
    text = [model_fingerprint(str(file)) for file in general_text.files(settings.general)] if settings.general else []
    parts = (curated["key"], trained["key"], settings.model_dump(), project.seed, text, harness.installed())
    key = fingerprint(*parts, FORMATS["evaluate"])
    if run.manifest("evaluate", key) is not None:
        console.print("  finished before: nothing has changed since")
        return dict(run.read_json(METRICS))
    rows = heldout.golden_rows(project, run)
    chosen = [row for row in rows if row["kind"] == "qa"][: settings.rows]
    base = Base.trained(project, run)
    stage = run.begin("evaluate", key)
    metrics: dict[str, Any] = {}
    notes: set[str] = set()
    with Meter(console, "base and tuned on the golden set", 2 * (len(rows) + len(chosen))) as meter:
        for step in batch.stream(lambda: _measure(project, base, run, rows, chosen)):
            meter.advance(step.get("rows", 0))
            metrics.update(step.get("metrics", {}))
            notes.update(step.get("notes", ()))
    for note in sorted(notes):
        console.print(f"  {note}", markup=False)
    for name, sentence in metrics["skipped"].items():
        console.print(f"  {comparison.NAMES.get(name, name)} skipped: {sentence}", markup=False)
    for name, sentence in metrics["notes"].items():
        console.print(f"  {comparison.NAMES[name]}: {sentence}", markup=False)
    run.put_json(stage, METRICS, metrics)
    run.commit(stage, inputs=trained["key"], rows={"golden": len(rows)})
    return metrics


def _measure(project: Project, base: Base, run: Run, rows: list[Any], chosen: list[Any]) -> Iterator[dict[str, Any]]:
    """Runs where the hardware is; yields `{rows}` as they are done, `{notes}` for people and `{metrics}` last."""
    settings = project.evaluate
    with contextlib.suppress(MissingModelError):  # a layer that the encoder lacks is told before the work
        bertscore.check(settings.bertscore, settings.bertscore_layer)
    model, tokenizer, precision = _load(project, base, run)
    held = heldout.encode(project, tokenizer, rows)
    examples, firsts = held.examples, frozenset(held.starts)
    texts = general_text.pieces(project, tokenizer) if settings.general else []
    scored: dict[str, list[TokenScores]] = {}
    answers: dict[str, list[str]] = {}
    ended: dict[str, float] = {}
    remembered: dict[str, list[TokenScores]] = {}
    tasks: dict[str, Any] = {}
    for name in ("base", "tuned"):
        with model.disable_adapter() if name == "base" else contextlib.nullcontext():
            scores: dict[int, TokenScores] = {}
            for part in score_tokens(model, examples, tokenizer.pad_token_id):
                scores.update(part)
                yield {"rows": len(firsts.intersection(part))}
            scored[name] = [scores[index] for index in range(len(examples))]
            remembered[name] = score_all(model, texts, tokenizer.pad_token_id)
            answers[name], ended[name] = yield from _answered(project, model, tokenizer, chosen)
            if settings.lm_eval and harness.installed():
                tasks[name] = harness.scores(model, tokenizer, settings.lm_eval, settings.lm_eval_limit)
    references = [row["response"] for row in chosen]
    sizes = answer_bytes(tokenizer, examples)
    measures = comparison.of_losses(scored["base"], scored["tuned"], sizes, held.starts)
    skipped: dict[str, str] = {}
    notes: dict[str, str] = {}
    if chosen:
        langs, pair = [row["lang"] for row in chosen], (answers["base"], answers["tuned"])
        measures += comparison.of_answers(references, *pair, langs, settings.exact_match_words)
        try:
            measures.append(_bertscore(project, references, answers, notes))
        except MissingModelError as error:
            skipped["bertscore"] = str(error)
    if settings.lm_eval and not harness.installed():
        skipped["harness"] = harness.MISSING
    metrics = comparison.summary(measures, rows, settings.bootstrap, project.seed)
    metrics |= {
        "rows": len(rows),
        "generated": len(chosen),
        "ended": ended,
        "skipped": skipped,
        "notes": notes,
        "harness": tasks,
        "forgetting": _forgetting(project, remembered),
        "template": template_sha256(tokenizer),
        "held": precision,
        "samples": _samples(chosen[: settings.samples], answers),
    }
    yield {"metrics": metrics}


def _load(project: Project, base: Base, run: Run) -> tuple[Any, Any, str]:
    """Returns the base with the run's adapter, its tokenizer, and how the base is held: as on disk where that fits the
    device, else as training held it."""
    quantise = heldout.held(project, base)
    causal, tokenizer = base.load(quantise, load.device())
    return load.attach(causal, run.local(load.ADAPTER)), tokenizer, quantise or "whole"


def _answered(
    project: Project, model: Any, tokenizer: Any, chosen: list[Any]
) -> Generator[dict[str, Any], None, tuple[list[str], float]]:
    """Returns greedy answers in the order of the rows, and the share that the model ended by itself."""
    answers: dict[int, tuple[str, bool]] = {}
    notes: list[str] = []
    prompts = [row["prompt"] for row in chosen]
    for part in generate.answers(model, tokenizer, prompts, project.evaluate.max_new_tokens, tell=notes.append):
        answers.update(part)
        yield {"rows": len(part), "notes": notes}
    ended = sum(whole for _, whole in answers.values())
    return [answers[index][0] for index in range(len(chosen))], ended / max(1, len(chosen))


def _bertscore(
    project: Project, references: list[str], answers: dict[str, list[str]], notes: dict[str, str]
) -> comparison.Measure:
    """Returns the measure, and notes how many texts the encoder cut; raises `MissingModelError` with the sentence to
    tell where there is no encoder."""
    settings = project.evaluate
    if settings.bertscore is None:
        raise MissingModelError("name an encoder as evaluate.bertscore")
    encoder = bertscore.Encoder(settings.bertscore, settings.bertscore_layer, load.device())
    base, tuned = (encoder.counts(references, answers[name]) for name in ("base", "tuned"))
    texts = [*references, *answers["base"], *answers["tuned"]]
    if longer := encoder.longer(texts):
        notes["bertscore"] = (
            f"{longer:,} of {len(texts):,} texts are compared up to the encoder's {encoder.longest} tokens"
        )
    return comparison.Measure("bertscore", base, tuned, ratio)


def _forgetting(project: Project, scored: dict[str, list[TokenScores]]) -> dict[str, Any] | None:
    """Returns perplexity on general text of base and tuned, their change with its interval, and whether it is flagged;
    None where no text was named. A single piece has no interval."""
    if not scored["base"]:
        return None
    measure = comparison.of_losses(scored["base"], scored["tuned"], [1] * len(scored["base"]))[0]
    sums = measure.base.sum(0), measure.tuned.sum(0)
    base, tuned = (perplexity(nats, int(tokens)) for nats, tokens in sums)
    limits = bootstrap.intervals(
        measure.base, measure.tuned, measure.score, measure.change, project.evaluate.bootstrap, project.seed
    )
    change = measure.change(base, tuned)
    return {
        "pieces": len(scored["base"]),
        "tokens": int(sums[0][1]),
        "base": base,
        "tuned": tuned,
        "change": change,
        "interval": limits and limits["change"],
        "gate": project.evaluate.forgetting_gate,
        "flagged": change > project.evaluate.forgetting_gate,
    }


def _samples(rows: list[Any], answers: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [
        {
            "id": row["id"],
            "prompt": row["prompt"],
            "reference": row["response"],
            "base": answers["base"][index],
            "tuned": answers["tuned"][index],
        }
        for index, row in enumerate(rows)
    ]
