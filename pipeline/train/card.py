"""The model card of an exported model: `README.md` beside the weights.

Output contract: Markdown with the front matter the hub reads (licence, base model), the data's counts, the measured
quality where `evaluate` has run, the template's hash and what the model is for and not for. It holds no training text.
This module measures nothing: it repeats what the run folder's metrics say.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.train import model

if TYPE_CHECKING:
    from pipeline.config import Project
    from pipeline.run import Run


def licence_of(base: Path) -> str:
    """Returns the licence a model's own card names in its front matter, `other` where it names none."""
    readme = base / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    found = re.search(r"^licen[sc]e:\s*['\"]?([\w.+-]+)", front.group(1) if front else "", re.MULTILINE)
    return found.group(1) if found else "other"


def write(project: Project, run: Run, facts: dict[str, Any]) -> str:
    """Returns the card; `facts` are those of `metrics/export.json`."""
    base = model.folder(project.base_model)
    name = Path(project.base_model).name if Path(project.base_model).is_dir() else project.base_model
    licence = licence_of(base)
    sections = [
        f"---\nlicense: {licence}\nbase_model: {name}\n"
        "library_name: transformers\npipeline_tag: text-generation\n---\n",
        f"# {project.name}\n\n{name}, fine-tuned with QLoRA on question/answer pairs by solotune {__version__} and "
        f"merged into {facts['dtype']} weights: {facts['parameters']:,} parameters.\n",
        _data(run),
        _training(project, run),
        _quality(run, facts),
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
        made = run.read_json("metrics/synthesize.json")
        rows.append(
            f"Synthetic variants of training questions: {made['kept']:,}, written by {Path(made['model']).name}."
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


def _quality(run: Run, facts: dict[str, Any]) -> str:
    lines = ["## Quality\n"]
    if run.exists("metrics/evaluate.json"):
        scores = run.read_json("metrics/evaluate.json")
        lines += [
            f"On {scores['rows']:,} golden rows that no training saw:\n",
            "| | base | tuned |",
            "| --- | ---: | ---: |",
        ]
        for name, title in (("perplexity", "answer perplexity"), ("rouge_l", "ROUGE-L")):
            lines.append(f"| {title} | {scores['base'][name]:.3f} | {scores['tuned'][name]:.3f} |")
        lines.append("")
    else:
        lines.append("Not evaluated yet: run `jobs.evaluate` and export again.\n")
    lines.append(f"Merged against adapter, largest difference of two logits: {facts['max_logit_difference']:.1e}.")
    lines.append(f"Chat template, SHA-256: `{facts['template_sha256']}`.")
    return "\n".join(lines) + "\n"


def _use(licence: str) -> str:
    return (
        "## Intended use\n\n"
        "Drafting answers to customers' questions of the kind it was trained on, with a person or a check behind it. "
        "Not for decisions about people, legal or medical advice, or facts nobody verifies: it can be wrong and sound "
        "sure. Placeholders such as `<EMAIL_ADDRESS>` may appear in its answers.\n\n"
        + ("The base model's card names no licence: see its files.\n" if licence == "other" else "")
    )
