"""The page's sections on results: evaluation, forgetting, merge, GGUF files.

Output contract: HTML made of `metrics/{evaluate,export,gguf}.json` alone, every score with its interval, every gate
with its limit; metrics that were skipped and files that were not published are sentences. It shows no rows.
"""

from __future__ import annotations

from typing import Any

from pipeline.evaluate.comparison import LOWER_IS_BETTER, NAMES
from pipeline.report.elements import box, folded, paragraph, section, table
from pipeline.wording import language

NO_INTERVAL = "none: too few rows"
_SHOWN = ("perplexity", "rouge_l", "chrf", "exact_match")  # of a group


def change(name: str, base: float, tuned: float) -> str:
    """Returns by how much a score has changed: relative where lower is better, else the difference."""
    if name in LOWER_IS_BETTER:
        return f"{tuned / base - 1:+.1%}" if base else "none"
    return f"{tuned - base:+.3g}"


def span(name: str, limits: list[float] | None) -> str:
    """Returns the interval of a change in words."""
    if limits is None:
        return NO_INTERVAL
    form = "+.1%" if name in LOWER_IS_BETTER else "+.3g"
    return f"{limits[0]:{form}} to {limits[1]:{form}}"


HEAD = ("golden set", "base", "tuned", "change", "95 % interval")


def scores(metrics: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns a row for `HEAD` for each metric of `metrics/evaluate.json`."""
    base, tuned = metrics["base"], metrics["tuned"]
    return [
        (
            title,
            f"{base[name]:,.4g}",
            f"{tuned[name]:,.4g}",
            change(name, base[name], tuned[name]),
            span(name, metrics["intervals"].get(name, {}).get("change")),
        )
        for name, title in NAMES.items()
        if name in base
    ]


def evaluation(scored: dict[str, Any]) -> str:
    """Returns the section of `metrics/evaluate.json`."""
    notes = [
        f"Losses are of {scored['rows']:,} golden rows, answers of {scored['generated']:,}, greedy. Intervals are from "
        "resampled rows, the same for both. Lower is better for perplexity and bits per byte, higher for the rest."
    ]
    if scored["held"] == "nf4":
        notes.append("The base did not fit this machine as it is: both models were measured on the 4-bit base.")
    if scored["generated"]:
        ended = scored["ended"]
        notes.append(
            f"Of its answers the base ended {ended['base']:.0%} by itself, the tuned model {ended['tuned']:.0%}."
        )
    notes += [f"{NAMES.get(name, name)} skipped: {reason}." for name, reason in scored["skipped"].items()]
    notes += [f"{NAMES[name]}: {sentence}." for name, sentence in scored.get("notes", {}).items()]
    boxes = [box("Base against tuned", table(HEAD, scores(scored)) + paragraph(notes), "wide")]
    for field, title in (("lang", "language"), ("label", "label")):
        if field in scored["groups"]:
            boxes.append(box(f"By {title}", _groups(scored["groups"][field], field)))
    if scored["forgetting"]:
        boxes.append(box("General text", _forgetting(scored["forgetting"])))
    if scored["harness"]:
        boxes.append(box("LM Evaluation Harness", _harness(scored["harness"])))
    return section("Evaluation", boxes)


def _groups(groups: dict[str, Any], field: str) -> str:
    names = [name for name in _SHOWN if any(name in group["base"] for group in groups.values())]
    rows = []
    for value, group in groups.items():
        cells = (_group_change(name, group) if name in group["base"] else "" for name in names)
        rows.append((language(value) if field == "lang" else value, group["rows"], *cells))
    body = table(("", "rows", *(f"{NAMES[name]}, change" for name in names)), rows)
    return body if len(rows) <= 8 else folded(f"{len(rows)} groups", body)


def _group_change(name: str, group: dict[str, Any]) -> str:
    difference, limits = change(name, group["base"][name], group["tuned"][name]), group["change"].get(name)
    return f"{difference} ({span(name, limits)})" if limits else difference


def _forgetting(drift: dict[str, Any]) -> str:
    rows = [("perplexity", f"{drift['base']:.4g}", f"{drift['tuned']:.4g}", f"{drift['change']:+.1%}")]
    limits = "no interval, too few pieces" if drift["interval"] is None else span("perplexity", drift["interval"])
    sentence = (
        "It has forgotten some of what the base knew: mix in general text, or train less."
        if drift["flagged"]
        else "It has kept what the base knew."
    )
    note = f"{drift['pieces']:,} pieces, {drift['tokens']:,} tokens; change {limits}, flagged above"
    return table(("", "base", "tuned", "change"), rows) + paragraph([f"{note} {drift['gate']:+.0%}.", sentence])


def _harness(metrics: dict[str, Any]) -> str:
    rows = [
        (task, name, f"{metrics['base'][task][name]:.4g}", f"{value:.4g}")
        for task, values in metrics["tuned"].items()
        for name, value in values.items()
    ]
    return table(("task", "metric", "base", "tuned"), rows, words=2)


def export(metrics: dict[str, Any], files: dict[str, Any] | None) -> str:
    """Returns the section of `metrics/export.json` and, where there are such files, `metrics/gguf.json`."""
    rows = [
        (
            "on disk" if name == "base" else "as NF4 left it",
            f"{base['adapter_perplexity']:.4g}",
            f"{base['perplexity']:.4g}",
            f"{base['change']:+.2%}",
            f"{base['top1']:.2%}",
            "shipped" if name == metrics["chosen"] else "passed" if base["passed"] else "failed",
        )
        for name, base in metrics["bases"].items()
    ]
    head = ("merged into the base", "adapter", "merged", "change", "same first choice", "")
    note = f"Perplexity on {metrics['rows']:,} golden rows. {metrics['parameters']:,} parameters in {metrics['dtype']}."
    merge = box("Merge", table(head, rows) + paragraph([note]))
    return section("Export", [merge] if files is None else [merge, _files(files)])


def _files(export: dict[str, Any]) -> str:
    rows = []
    for file in export["files"]:
        measured = file["perplexity"] is not None
        types = ", ".join(f"{count} {kind}" for kind, count in file["types"].items())
        rows.append(
            (
                file["kind"],
                types,
                f"{file['bytes'] / 1e6:,.1f} MB",
                f"{file['perplexity']:.4g}" if measured else "",
                f"{file['change']:+.2%}" if measured else "",
                f"{file['gate']:.1%}",
                "no" if file["problem"] else "yes",
            )
        )
    head = ("file", "tensors", "size", "perplexity", "change", "allowed", "published")
    notes = [
        f"The merged model's perplexity on the same rows is {export['merged_perplexity']:.4g}; {export['runtime']}."
    ]
    notes += [f"{file['kind']}: {file['problem']}." for file in export["files"] if file["problem"]]
    return box("Files for llama.cpp", table(head, rows, words=2) + paragraph(notes), "wide")
