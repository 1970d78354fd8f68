"""Plans as tables for a terminal: a model per line, a card per table.

Output contract: `plans` and `models` print; every figure is the planner's. This module plans nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Columns

from pipeline.plan.cards import Card
from pipeline.plan.cost_model import Plan
from pipeline.plan.presets import Preset


def plans(
    card: Card,
    model_plans: Sequence[tuple[str, Plan | None]],
    tokens: float,
    price: float | None,
    factor: float,
    console: Console,
) -> None:
    """Prints what each model takes on one card; `tokens` are those of all epochs, `price` is per hour, `factor`
    corrects the predicted speed."""
    head = ["tokens/row", "recomputed", "products", "GiB", "tokens/s", "MFU", "hours"]
    lines = Columns("model", *head, *(["EUR"] if price is not None else []))
    lines.title, lines.title_justify = f"{escape(card.name)}, {card.gib:.1f} GiB", "left"
    for column in lines.columns[1:]:
        column.justify = "right"
    for name, plan in model_plans:
        if plan is None:
            lines.add_row(escape(name), "[red]does not fit[/]")
            continue
        hours = plan.hours(tokens) / factor
        cells = [
            f"{plan.pack_tokens:,}",
            f"{plan.recompute} of {plan.layers}",
            "bf16" if plan.compute == "bf16" else "FP8",
            f"{plan.total_gib:.1f}" + (" [red]too much[/]" if plan.total_gib > card.gib else ""),
            f"{plan.tokens_per_second * factor:,.0f}",
            f"{plan.mfu * factor:.0%}",
            f"{hours:.2f}",
        ]
        lines.add_row(escape(name), *cells, *([f"{hours * price:.2f}"] if price is not None else []))
    console.print(lines)


def models(presets: Sequence[Preset], console: Console) -> None:
    """Prints the licence and size check."""
    lines = Columns("model", "on the hub", "parameters", "licence", "check")
    lines.columns[2].justify = "right"
    for preset in presets:
        warnings = "; ".join(preset.warnings)
        colour = "green" if not warnings else "red" if not preset.commercial else "yellow"
        size = f"{preset.shape.parameters / 1e9:.3g} B"
        lines.add_row(preset.name, preset.hub, size, preset.licence, f"[{colour}]{escape(warnings or 'fine')}[/]")
    console.print(lines)
