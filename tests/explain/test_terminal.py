"""What is printed of a story: nothing in it is taken for markup."""

from __future__ import annotations

import io

from rich.console import Console

from pipeline.explain import terminal
from pipeline.explain.story import Step, Story


def test_text_is_not_taken_for_markup() -> None:
    console = Console(record=True, width=120, file=io.StringIO())
    steps = (Step("read", "[red]x[/red].csv, line 1"),)
    terminal.story(Story("0" * 32, "[b]name", "Kept.", steps, ("[link=http://x]q", "a")), console)
    printed = console.export_text()
    for part in ("[red]x[/red].csv", "[b]name", "[link=http://x]q"):
        assert part in printed
