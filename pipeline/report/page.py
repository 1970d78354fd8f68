"""The run's page: what went in, what came out, whether the model got better.

Output contract: `report.html` in the run folder, one self-contained file made of `metrics/*.json` alone; a job that
has not run yet is a sentence where its figures would be. It shows sample answers, which are scrubbed text, and no
other rows.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import Any

from pipeline import __version__
from pipeline.config import Project
from pipeline.curation import findings
from pipeline.report import curation_section, results_section
from pipeline.report.elements import card
from pipeline.report.elements import table as listing
from pipeline.report.plots import bars, lines
from pipeline.run import Run


def write(project: Project, run: Run) -> str:
    """Writes `report.html` from the metrics that are there; returns its full path."""
    names = ("curate", "synthesize", "train", "evaluate", "export", "gguf")
    metrics = {name: run.read_json(f"metrics/{name}.json") for name in names if run.exists(f"metrics/{name}.json")}
    run.write_bytes("report.html", page(project.name, metrics).encode())
    return run.full("report.html")


def page(name: str, metrics: dict[str, Any]) -> str:
    """Returns the whole page; `found` maps a job's name to its metrics."""
    style = files("pipeline.report").joinpath("style.css").read_text(encoding="utf-8")
    sections = [
        _tiles(metrics),
        _curation(metrics),
        _synthesis(metrics),
        _training(metrics),
        _evaluation(metrics),
        _export(metrics),
        _samples(metrics),
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


def _missing(title: str, job: str) -> str:
    return f'<h2>{title}</h2><p class="none">Not yet: run <code>jobs.{job}</code> on this run folder.</p>'


def _tiles(metrics: dict[str, Any]) -> str:
    tiles: list[tuple[str, str, bool]] = []
    if curate := metrics.get("curate"):
        tiles += [
            (f"{rows:,}", f"rows {what}", False)
            for rows, what in zip(findings.totals(curate), ("read", "kept"), strict=True)
        ]
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


def _curation(metrics: dict[str, Any]) -> str:
    curate = metrics.get("curate")
    return _missing("Curation", "curate") if curate is None else curation_section.section(curate)


def _synthesis(metrics: dict[str, Any]) -> str:
    synthesize = metrics.get("synthesize")
    if synthesize is None:
        return ""
    outcome = [("kept", synthesize["kept"]), *((k.replace("_", " "), n) for k, n in synthesize["rejected"].items())]
    pairs = "".join(
        f'<div class="answers pair"><div><h4>real question</h4><p>{escape(pair["parent"])}</p></div>'
        f'<div class="tuned"><h4>rephrased</h4><p>{escape(pair["variant"])}</p></div></div>'
        for pair in synthesize["samples"][:3]
    )
    cards = card("What became of the variants", bars(outcome)) + card("Examples", pairs or '<p class="none">none</p>')
    lead = f"{synthesize['generated']:,} variants of {synthesize['seeds']:,} training questions, same answers."
    return f'<h2>Synthetic questions</h2><p class="lead">{lead}</p><div class="grid2">{cards}</div>'


def _training(metrics: dict[str, Any]) -> str:
    train = metrics.get("train")
    if train is None:
        return _missing("Training", "train")
    loss = _curve(train["steps"], "loss")
    validation = _curve(train["evals"], "loss")
    rate = [("learning rate", _curve(train["steps"], "learning_rate"))]
    norm = [("gradient norm", _curve(train["steps"], "grad_norm"))]
    facts = [
        ("examples", f"{train['examples']:,}"),
        ("cut at the length limit", f"{train['truncated']:,}"),
        ("packed rows", f"{train['packed_rows']:,}"),
        ("trained parameters", f"{train['trainable_parameters']:,} of {train['parameters']:,}"),
        ("tokens per second", f"{train['tokens_per_second']:,.0f}"),
        ("peak memory", f"{train['peak_memory_gib']:.2f} GiB"),
        ("device", str(train["device"])),
        ("adapter of step", str(train["adapter_step"])),
    ]
    table = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts)
    cards = [
        card("Loss", lines([("training", loss), ("validation", validation)], "step", "loss")),
        card("Facts", f"<table>{table}</table>"),
        *([card("Planned and actual", results_section.comparison(train["plan"]))] if "plan" in train else []),
        card("Learning rate", lines(rate, "step", "learning rate")),
        card("Gradient norm", lines(norm, "step", "gradient norm")),
    ]
    if answers := [line for line in train["events"] if line["event"] == "samples"]:
        cards.append(card("Answers on the way", results_section.answers(answers), wide=True))
    if happened := [line for line in train["events"] if line["event"] != "samples"]:
        rows = [(f"{line['step']:,}", line["text"]) for line in happened]
        cards.append(card("What happened on the way", listing(("after step", "what"), rows, words=2), wide=True))
    stopped = "" if train["stopped"] is None else f'<p class="lead">Not finished: {escape(train["stopped"])}</p>'
    return f'<h2>Training</h2>{stopped}<div class="grid2">{"".join(cards)}</div>'


def _curve(lines: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """Returns the points of a curve; what was not finite is null in the metrics and left out here."""
    return [(line["step"], line[name]) for line in lines if line[name] is not None]


def _evaluation(metrics: dict[str, Any]) -> str:
    evaluate = metrics.get("evaluate")
    return _missing("Evaluation", "evaluate") if evaluate is None else results_section.evaluation(evaluate)


def _export(metrics: dict[str, Any]) -> str:
    export = metrics.get("export")
    return _missing("Export", "export") if export is None else results_section.export(export, metrics.get("gguf"))


def _samples(metrics: dict[str, Any]) -> str:
    samples = metrics.get("evaluate", {}).get("samples", [])
    blocks = "".join(
        f'<div class="card sample"><p class="question">{escape(sample["prompt"])}</p><div class="answers">'
        + "".join(
            f'<div class="{kind}"><h4>{title}</h4><p>{escape(sample[kind]) or "(nothing)"}</p></div>'
            for kind, title in (("base", "base model"), ("tuned", "tuned model"), ("reference", "your own answer"))
        )
        + "</div></div>"
        for sample in samples
    )
    return f"<h2>Answers side by side</h2>{blocks}" if samples else ""
