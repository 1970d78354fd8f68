"""Measures base and tuned model on the golden set: `python -m jobs.evaluate CONFIG --run DIR`."""

from __future__ import annotations

from rich.table import Table

from jobs import Job, main
from pipeline.evaluate.evaluate import evaluate as measure
from pipeline.report.results_section import HEAD, scores


def evaluate(job: Job) -> None:
    """Evaluates and prints base against tuned."""
    metrics = measure(job.project, job.run, job.console)
    table = Table(*HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in scores(metrics):
        table.add_row(*row)
    if forgetting := metrics["forgetting"]:
        change = f"{forgetting['change']:+.1%}{', forgotten' if forgetting['flagged'] else ''}"
        table.add_row("general text", f"{forgetting['base']:,.4g}", f"{forgetting['tuned']:,.4g}", change, "")
    job.console.print(table)
    for sample in metrics["samples"][:2]:
        for name in ("prompt", "base", "tuned", "reference"):
            text = " ".join(sample[name].split())
            job.console.print(f"  {name + ':':<11}{text[:400]}", markup=False)
        job.console.print()


if __name__ == "__main__":
    main(evaluate, str(__doc__), needs="train")
