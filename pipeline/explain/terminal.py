"""Prints the story of a row as a rich table."""

from __future__ import annotations

import itertools

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.explain.story import Story


def story(row_story: Story, console: Console) -> None:
    """Prints the verdict on a row, then a table with a line per stage, where the story has them."""
    console.print(f"\n[bold]{escape(row_story.name)}[/]  {escape(row_story.id)}")
    console.print(row_story.verdict, markup=False)
    if not row_story.steps:
        return
    table = Table("stage", "what happened", "score", "threshold")
    for column in table.columns[2:]:
        column.justify = "right"
    for step in row_story.steps:
        numbers = ("" if value is None else f"{value:.4g}" for value in (step.score, step.threshold))
        table.add_row(step.stage, escape(step.happened), *numbers)
    console.print(table)
    for name, text in zip(itertools.cycle(("question", "answer")), row_story.text or (), strict=False):
        console.print(name, style="bold")
        console.print(text, end="\n\n", markup=False)
