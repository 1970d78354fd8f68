"""The run's page: what went in, what came out, whether the model got better.

Output contract: `report.html` in the run folder, one self-contained file made of `metrics/*.json` alone; a job that
has not run yet is a sentence where its figures would be. It shows sample answers, which are scrubbed text, and no
other rows.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib.resources import files
from typing import Any

from pipeline import __version__, wording
from pipeline.config import Project
from pipeline.curation import findings
from pipeline.report import curation_section, results_section, training_section
from pipeline.report.elements import NONE, box, section
from pipeline.report.plots import bars
from pipeline.run import Run


def write(project: Project, run: Run) -> str:
    """Writes `report.html` from the metrics that are there; returns its full path."""
    names = ("curate", "synthesize", "train", "evaluate", "export", "gguf")
    metrics = {name: run.read_json(f"metrics/{name}.json") for name in names if run.exists(f"metrics/{name}.json")}
    run.write_bytes("report.html", page(project.name, metrics).encode())
    return run.full("report.html")


def page(name: str, metrics: dict[str, Any]) -> str:
    """Returns the whole page; `metrics` maps a job's name to its metrics."""

    def part(title: str, job: str, render: Callable[[dict[str, Any]], str]) -> str:
        missing = f'<h2>{title}</h2><p class="none">Not yet: run <code>jobs.{job}</code> on this run folder.</p>'
        return render(metrics[job]) if job in metrics else missing

    style = files("pipeline.report").joinpath("style.css").read_text(encoding="utf-8")
    sections = [
        _tiles(metrics),
        part("Curation", "curate", curation_section.section),
        _synthesis(metrics["synthesize"]) if "synthesize" in metrics else "",
        part("Training", "train", training_section.section),
        part("Evaluation", "evaluate", results_section.evaluation),
        part("Export", "export", lambda export: results_section.export(export, metrics.get("gguf"))),
        _samples(metrics.get("evaluate", {}).get("samples", [])),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: report</title><style>{style}</style></head><body><main>"
        f'<header><h1>{escape(name)}</h1><p class="lead">{escape(_headline(metrics))}</p></header>'
        f"{''.join(sections)}<footer>solotune {__version__}. Figures are those of the run folder's metrics/*.json."
        "</footer></main></body></html>"
    )


def _headline(metrics: dict[str, Any]) -> str:
    parts = []
    if curate := metrics.get("curate"):
        read, kept = findings.totals(curate)
        parts.append(f"{kept:,} of {read:,} rows were fit to learn from.")
    if evaluate := metrics.get("evaluate"):
        change = 1 - evaluate["tuned"]["perplexity"] / evaluate["base"]["perplexity"]
        better = f"{change:.0%} lower" if change >= 0 else f"{-change:.0%} higher"
        parts.append(f"On {evaluate['rows']:,} held-out rows the tuned model's perplexity is {better} than its base's.")
    return " ".join(parts) or "No job has finished yet."


def _tiles(metrics: dict[str, Any]) -> str:
    tiles: list[tuple[str, str, bool]] = []
    if curate := metrics.get("curate"):
        read, kept = findings.totals(curate)
        tiles += [(f"{read:,}", "rows read", False), (f"{kept:,}", "rows kept", False)]
        tiles.append((f"{sum(curate['pii'].values()):,}", "personal details replaced", False))
    if synthesize := metrics.get("synthesize"):
        tiles.append((f"{synthesize['kept']:,}", "rephrased questions added", False))
    if train := metrics.get("train"):
        tiles.append((f"{train['seconds'] / 60:.1f} min", "training time", False))
    if evaluate := metrics.get("evaluate"):
        base, tuned = evaluate["base"]["perplexity"], evaluate["tuned"]["perplexity"]
        tiles.append((f"{base:,.3g} → {tuned:,.3g}", "perplexity, base → tuned", tuned < base))
    body = "".join(
        f'<div class="tile{" good" if good else ""}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name, good in tiles
    )
    return f'<div class="tiles">{body}</div>' if tiles else ""


def _synthesis(synthesize: dict[str, Any]) -> str:
    rejected = ((wording.plain(reason), count) for reason, count in synthesize["rejected"].items())
    pairs = "".join(
        f'<div class="answers pair"><div><h4>real question</h4><p>{escape(pair["parent"])}</p></div>'
        f'<div class="tuned"><h4>rephrased</h4><p>{escape(pair["variant"])}</p></div></div>'
        for pair in synthesize["samples"][:3]
    )
    outcome = bars([("kept", synthesize["kept"]), *rejected])
    lead = f"{synthesize['generated']:,} variants of {synthesize['seeds']:,} training questions, same answers."
    boxes = (box("What became of the variants", outcome), box("Examples", pairs or NONE))
    return section("Synthetic questions", boxes, lead)


def _samples(samples: list[dict[str, Any]]) -> str:
    blocks = "".join(
        f'<div class="box sample"><p class="question">{escape(sample["prompt"])}</p><div class="answers">'
        + "".join(
            f'<div class="{kind}"><h4>{title}</h4><p>{escape(sample[kind]) or "(nothing)"}</p></div>'
            for kind, title in (("base", "base model"), ("tuned", "tuned model"), ("reference", "your own answer"))
        )
        + "</div></div>"
        for sample in samples
    )
    return f"<h2>Answers side by side</h2>{blocks}" if samples else ""
