"""Curates a dump: what is read, kept and rejected, and why. `--input` takes files, folders and URIs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from jobs import Job, main


def show(metrics: dict[str, Any], console: Console) -> None:
    """Prints the table a person checks by hand: per source read = kept + rejected, by reason."""
    reasons = sorted({reason for source in metrics["sources"].values() for reason in source["rejected"]})
    table = Table("source", "read", "kept", *(reason.replace("_", " ") for reason in reasons))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, source in metrics["sources"].items():
        rejected = (str(source["rejected"].get(reason, 0)) for reason in reasons)
        table.add_row(name, str(source["read"]), str(source["kept"]), *rejected)
    console.print(table)
    splits = metrics["splits"]
    console.print(f"train {splits['train']:,}   val {splits['val']:,}   golden {splits['golden']:,}")
    found = "   ".join(f"{kind} {count:,}" for kind, count in metrics["pii"].items())
    console.print(f"personal data replaced: {found or 'none found'}")


def curate(job: Job) -> None:
    from pipeline.curate import curate as work

    show(work(job.project, job.run, job.inputs, job.console), job.console)


if __name__ == "__main__":
    main(curate, str(__doc__), takes_input=True)
