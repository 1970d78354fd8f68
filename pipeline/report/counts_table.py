"""What a job prints for a person to check by hand, as rich tables.

Output contract: `counts` prints how read = kept + rejected, by reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import wording
from pipeline.curation import findings

COLUMNS = 6  # sources that fit beside one another


def counts(metrics: Mapping[str, Any], console: Console) -> None:
    """Prints the content of `metrics/curate.json`; the sources have a column each where they fit."""
    sources = metrics["sources"]
    shown = sources if 1 < len(sources) <= COLUMNS else {}
    table = Table("stage", "rows", "threshold", *map(escape, shown), wording.counted(len(sources), "source"))
    for column in table.columns[2:]:
        column.justify = "right"
    for name in ("read", "kept"):
        numbers = [*(source[name] for source in shown.values()), sum(source[name] for source in sources.values())]
        table.add_row("", name, "", *(f"{number:,}" for number in numbers))
    table.add_section()
    for reason in metrics["reasons"]:
        limit = "" if reason["threshold"] is None else f"{reason['threshold']:g}"
        numbers = [*(reason["by_source"].get(source, 0) for source in shown), reason["rows"]]
        table.add_row(
            reason["stage"],
            wording.plain(reason["reason"]),
            limit,
            *(f"{number:,}" if number else "" for number in numbers),
        )
    console.print(table)
    console.print("   ".join(f"{name} {count:,}" for name, count in metrics["splits"].items()), markup=False)
    personal = "   ".join(f"{kind} {count:,}" for kind, count in metrics["pii"].items())
    console.print(f"personal data replaced: {personal or 'none found'}", markup=False)
    for sentence in findings.audits(metrics):
        console.print(sentence, markup=False)
