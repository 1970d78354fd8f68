"""Which model to start from: the smallest that reaches a share of the target before any training.

Output contract: candidates are measured on the run's golden set, smallest first, until one is good enough; what was
measured and which one that is goes to `metrics/recommend.json`. Each is asked with its own chat template, one without
any with the default. A candidate is held, asked and scored as `evaluate` does with a base: on the same rows both give
the same figure. Bits per byte are of documents too, ROUGE-L of questions alone.
This module trains nothing and knows nothing of licences or memory: `jobs.plan` without `--recommend` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import batch
from pipeline.errors import ConfigError, InputError
from pipeline.evaluate import comparison, heldout
from pipeline.evaluate.comparison import LOWER_IS_BETTER
from pipeline.evaluate.perplexity import answer_bytes, score_all
from pipeline.models import load, memory
from pipeline.models.generate import complete
from pipeline.models.load import find_folder
from pipeline.models.template import DEFAULT

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Project, Recommend
    from pipeline.run import Run

METRICS = "metrics/recommend.json"


def recommend(project: Project, run: Run, console: Console) -> dict[str, Any]:
    """Measures and returns the content of `metrics/recommend.json`; `chosen` is null where no candidate is good enough.

    Needs Ray to be running. Raises `ConfigError` without candidates or a target, `MissingStageError` before `curate`,
    `InputError` without golden questions, `MissingModelError`.
    """
    settings = project.recommend
    if not settings.candidates or settings.target is None:
        raise ConfigError("recommend: name `candidates` and a `target` in the configuration or on the command line")
    rows = _golden(project, run)
    sizes = {name: memory.parameters(find_folder(name)) for name in settings.candidates}
    measured: list[dict[str, Any]] = []
    chosen = None
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        asked = project.model_copy(update={"base_model": name, "chat_template": _template(project, name)})
        (step,) = batch.stream(lambda asked=asked: _measure(asked, rows))  # type: ignore[misc]
        good = reaches(step["value"], settings)
        measured.append({"model": name, "parameters": sizes[name], "value": step["value"], "reached": good})
        console.print(f"  {name}: {settings.metric} {step['value']:.4f}", markup=False)
        if good:
            chosen = name
            break
    result = {
        "metric": settings.metric,
        "target": settings.target,
        "threshold": round(threshold(settings), 4),
        "rows": len(rows),
        "measured": measured,
        "chosen": chosen,
    }
    run.write_json(METRICS, result)
    return result


def threshold(settings: Recommend) -> float:
    """Returns the value that is good enough: the share of the target, of an error what is as much worse."""
    target = settings.target or 0.0
    return target / settings.share if settings.metric in LOWER_IS_BETTER else target * settings.share


def reaches(value: float, settings: Recommend) -> bool:
    """Says whether a measured value is good enough."""
    limit = threshold(settings)
    return value <= limit if settings.metric in LOWER_IS_BETTER else value >= limit


def _golden(project: Project, run: Run) -> list[dict[str, Any]]:
    rows = heldout.golden_rows(project, run)
    if project.recommend.metric == "rouge_l" and not (rows := [row for row in rows if row["kind"] == "qa"]):
        raise InputError(f"{run.uri} has no golden questions: curate more rows, or set curate.split.golden higher")
    return rows[: project.recommend.rows]


def _template(project: Project, name: str) -> str | None:
    """Returns the setting that gives a candidate a template: the project's for its own base, `default` where the model
    has none."""
    from transformers import AutoTokenizer

    if name == project.base_model and project.chat_template is not None:
        return project.chat_template
    return None if AutoTokenizer.from_pretrained(find_folder(name)).chat_template else DEFAULT


def _measure(project: Project, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Runs where the hardware is; yields the value."""
    base = load.Base.of(project)
    causal, tokenizer = base.load(heldout.held(project, base), load.device())
    if project.recommend.metric == "bits_per_byte":
        examples = heldout.encode(project, tokenizer, rows).examples
        scored = score_all(causal, examples, tokenizer.pad_token_id)
        measures = comparison.of_losses(scored, scored, answer_bytes(tokenizer, examples))
    else:
        prompts, references = [row["prompt"] for row in rows], [row["response"] for row in rows]
        texts, _ = complete(causal, tokenizer, prompts, project.evaluate.max_new_tokens)
        measures = comparison.of_answers(
            references, texts, texts, [row["lang"] for row in rows], project.evaluate.exact_match_words
        )
    yield {"value": comparison.scores(measures)["base"][project.recommend.metric]}


def sentence(result: dict[str, Any]) -> str:
    """Returns the advice in words."""
    wanted = f"{result['metric']} {result['threshold']:g} on {result['rows']} golden rows before any training"
    if result["chosen"] is None:
        count = len(result["measured"])
        return f"no candidate ({count} measured) reaches {wanted}: try larger ones, or look at the data first"
    return f"take {Path(result['chosen']).name}: the smallest that reaches {wanted}"
