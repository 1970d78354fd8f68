"""The model card of an exported model: `README.md` beside the weights, merged or adapter.

Output contract: Markdown with the front matter the hub reads (licence, base model, languages), the data's counts, the
measured quality with its intervals where `evaluate` has run, the template's hash, how to serve it and what it is not
for. It holds no training text. This module measures nothing: it repeats what the run folder's metrics say.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.evaluate.comparison import LOWER_IS_BETTER, NAMES
from pipeline.models.load import find_folder
from pipeline.plan.licence import licence_of

if TYPE_CHECKING:
    from pipeline.config import Project
    from pipeline.run import Run


def merged(project: Project, run: Run, facts: dict[str, Any]) -> str:
    """Returns the merged model's card; `facts` are those of `metrics/export.json`."""
    what = f"merged into {facts['dtype']} weights: {facts['parameters']:,} parameters"
    return _card(project, run, what, "transformers", [_merge(facts), _serve_merged(facts)])


def adapter(project: Project, run: Run, facts: dict[str, Any]) -> str:
    """Returns the adapter's card; `facts` are those of `metrics/export.json`."""
    return _card(project, run, "the adapter alone, in peft's format", "peft", [_serve_adapter(project, facts)])


def _card(project: Project, run: Run, what: str, library: str, extra: list[str]) -> str:
    base = find_folder(project.base_model)
    name = Path(project.base_model).name if Path(project.base_model).exists() else project.base_model
    licence = licence_of(base)
    languages = "".join(f"- {language}\n" for language in project.curate.languages)
    sections = [
        f"---\nlicense: {licence}\nbase_model: {name}\nlibrary_name: {library}\npipeline_tag: text-generation\n"
        f"language:\n{languages}---\n",
        f"# {project.name}\n\n{name}, fine-tuned with QLoRA on question/answer pairs by solotune {__version__}; "
        f"{what}.\n",
        _data(run),
        _training(project, run),
        _quality(run),
        *extra,
        _use(licence),
    ]
    return "\n".join(section for section in sections if section)


def _data(run: Run) -> str:
    counts = run.read_json("metrics/curate.json") if run.exists("metrics/curate.json") else None
    if counts is None:
        return ""
    rows = ["## Data\n", "| source | read | kept | rejected |", "| --- | ---: | ---: | ---: |"]
    for source, row in counts["sources"].items():
        rows.append(f"| {source} | {row['read']:,} | {row['kept']:,} | {sum(row['rejected'].values()):,} |")
    splits = ", ".join(f"{split} {count:,}" for split, count in counts["splits"].items())
    rows.append(f"\nSplits: {splits}. Personal data was replaced by placeholders before training.")
    if run.exists("metrics/synthesize.json"):
        synth = run.read_json("metrics/synthesize.json")
        rows.append(
            f"Synthetic variants of training questions: {synth['kept']:,}, written by {Path(synth['model']).name}."
        )
    return "\n".join(rows) + "\n"


def _training(project: Project, run: Run) -> str:
    metrics, settings = run.read_json("metrics/train.json"), project.train
    lora = settings.lora
    targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
    base = "NF4, double-quantised" if settings.quantise else "unquantised"
    return (
        "## Training\n\n"
        f"LoRA r={lora.r}, alpha={lora.alpha}, {targets}, on a base held in {base}; loss on answers only; "
        f"{metrics['examples']:,} examples ({metrics['supervised_tokens']:,} supervised tokens), {settings.epochs:g} "
        f"epochs, {len(metrics['steps']):,} steps at {settings.learning_rate:g} on {metrics['device']}.\n"
    )


def _quality(run: Run) -> str:
    if not run.exists("metrics/evaluate.json"):
        return "## Quality\n\nNot evaluated yet: run `jobs.evaluate` and export again.\n"
    scores = run.read_json("metrics/evaluate.json")
    lines = [
        "## Quality\n",
        f"Golden rows, which no training saw: losses on {scores['rows']:,}, answers to {scores['generated']:,}; 95 % "
        "bootstrap intervals, paired.\n",
        "| | base | tuned | change |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, title in NAMES.items():
        if name in scores["base"]:
            base, tuned = scores["base"][name], scores["tuned"][name]
            lower, limits = name in LOWER_IS_BETTER, scores["intervals"].get(name, {}).get("change")
            change = f"{tuned / base - 1:+.1%}" if lower else f"{tuned - base:+.3f}"
            change += f" ({_span(limits, '.1%' if lower else '.3f')})" if limits else ""
            lines.append(f"| {title} | {base:.4g} | {tuned:.4g} | {change} |")
    lines += [f"\n{NAMES[name]}: {sentence}." for name, sentence in scores.get("notes", {}).items()]
    if forgetting := scores["forgetting"]:
        limits = forgetting["interval"]
        within = f", {_span(limits, '.1%')}" if limits else ""
        lines.append(
            f"\nOn general text its perplexity is {forgetting['tuned']:.4g}, the base's {forgetting['base']:.4g} "
            f"({forgetting['change']:+.1%}{within})"
            + (": it has forgotten some of what the base knew." if forgetting["flagged"] else ".")
        )
    return "\n".join(lines) + "\n"


def _span(limits: list[float], form: str) -> str:
    return " to ".join(f"{limit:+{form}}" for limit in limits)


def _merge(facts: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {result['perplexity']:.4g} | {result['change']:+.2%} | {result['top1']:.2%} |"
        f" {'shipped' if name == facts['chosen'] else 'passed' if result['passed'] else 'failed'} |"
        for name, result in facts["bases"].items()
    ]
    return (
        "## Merge\n\n"
        f"Against base plus adapter on {facts['rows']:,} golden rows; `base` is the base as it is on disk, `nf4` as "
        "training held it.\n\n"
        "| merged into | perplexity | against adapter | same first choice | |\n| --- | ---: | ---: | ---: | --- |\n"
        + "\n".join(rows)
        + "\n"
    )


def _serve_merged(facts: dict[str, Any]) -> str:
    return (
        "## How to serve\n\n"
        "`python -m jobs.serve CONFIG --run RUN`, or any server that loads transformers models (`vllm serve .`). "
        "Render conversations with the chat template in this folder and nothing else: it is what the model was trained "
        f"with (SHA-256 `{facts['template_sha256']}`).\n"
    )


def _serve_adapter(project: Project, facts: dict[str, Any]) -> str:
    return (
        "## How to use\n\n"
        f"`peft.PeftModel.from_pretrained(base, FOLDER)` on `{Path(project.base_model).name}`; the merged model is "
        "`model/merged`. Render conversations with the chat template in this folder "
        f"(SHA-256 `{facts['template_sha256']}`).\n"
    )


def _use(licence: str) -> str:
    return (
        "## Intended use and limits\n\n"
        "Drafting answers to customers' questions of the kind it was trained on, with a person or a check behind it. "
        "Not for decisions about people, legal or medical advice, or facts nobody verifies: it can be wrong and sound "
        "sure. Placeholders such as `<EMAIL_ADDRESS>` may appear in its answers.\n\n"
        + ("The base model's card names no licence: see its files.\n" if licence == "other" else "")
    )
