"""The page's section on training: curves, facts, plan against actual, answers and events on the way.

Output contract: HTML made of `metrics/train.json` alone. Of rows it shows the validation questions that were answered
during training (`train.samples`), no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.report import elements
from pipeline.report.elements import box, folded, paragraph, table
from pipeline.report.plots import lines


def section(train: dict[str, Any]) -> str:
    """Returns the whole section."""
    stopped = "" if train["stopped"] is None else f"Not finished: {train['stopped']}"
    loss = [("training", _curve(train["steps"], "loss")), ("validation", _curve(train["evals"], "loss"))]
    boxes = [box("Loss", lines(loss, "step", "loss")), box("Facts", _facts(train))]
    if "plan" in train:
        boxes.append(box("Planned and actual", _comparison(train["plan"])))
    for title, name in (("Learning rate", "learning_rate"), ("Gradient norm", "grad_norm")):
        curve = [(title.lower(), _curve(train["steps"], name))]
        boxes.append(box(title, lines(curve, "step", title.lower())))
    if samples := [event for event in train["events"] if event["event"] == "samples"]:
        boxes.append(box("Answers on the way", _answers(samples), "wide"))
    if others := [(f"{event['step']:,}", event["text"]) for event in train["events"] if event["event"] != "samples"]:
        boxes.append(box("What happened on the way", table(("after step", "what"), others, words=2), "wide"))
    return elements.section("Training", boxes, stopped)


def _curve(records: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """Returns the points of a curve; values that were not finite are null in the metrics and left out here."""
    return [(record["step"], record[name]) for record in records if record[name] is not None]


def _facts(train: dict[str, Any]) -> str:
    rows = [
        ("examples", f"{train['examples']:,}"),
        ("cut at the length limit", f"{train['truncated']:,}"),
        *(
            [("exchanges behind the length limit, left out", f"{dropped:,}")]
            if (dropped := train.get("dropped"))
            else []
        ),
        ("packed rows", f"{train['packed_rows']:,}"),
        ("trained parameters", f"{train['trainable_parameters']:,} of {train['parameters']:,}"),
        ("tokens per second", f"{train['tokens_per_second']:,.0f}"),
        ("peak memory", f"{train['peak_memory_gib']:.2f} GiB"),
        ("device", str(train["device"])),
        ("adapter of step", str(train["adapter_step"])),
    ]
    return table((), rows)


def _comparison(plan: Mapping[str, Any]) -> str:
    """Returns the part `plan` of `metrics/train.json` as HTML."""
    chosen = plan["chosen"]
    depth = chosen["recompute"]
    layers = "every layer" if depth == "all" else f"{depth} layers" if depth else "no layer"
    rows = []
    for name, title, digits in (
        ("tokens_per_second", "tokens per second", 0),
        ("hours", "hours", 2),
        ("peak_memory_gib", "peak memory, GiB", 2),
        ("mfu", "share of the card's peak", 3),
    ):
        planned, actual = plan["planned"][name], plan["actual"][name]
        if actual is None:
            continue
        difference = f"{100 * (actual / planned - 1):+.0f} %" if planned else ""
        expected = "not predicted" if planned is None else f"{planned:,.{digits}f}"
        rows.append((title, expected, f"{actual:,.{digits}f}", difference))
    note = (
        f"{chosen['card']}: packed rows of {chosen['pack_tokens']:,} tokens, {chosen['rows_per_step']} to a step, "
        f"{layers} recomputed."
    )
    return table(("", "planned", "actual", "difference"), rows) + paragraph([note])


def _answers(events: list[dict[str, Any]]) -> str:
    """Returns what the model answered at each evaluation of its training, question by question."""
    parts = []
    for index, question in enumerate(events[0]["questions"]):
        rows = [(f"{event['step']:,}", event["answers"][index] or "(nothing)") for event in events]
        parts.append(folded(question, table(("after step", "answer"), rows, words=2)))
    return "".join(parts)
