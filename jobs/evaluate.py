"""Measures base and tuned model on the golden set: `python -m jobs.evaluate CONFIG --run DIR`."""

from __future__ import annotations

from rich.table import Table

from jobs import Job, main


def evaluate(job: Job) -> None:
    from pipeline.evaluate.golden import evaluate as work
    from pipeline.evaluate.measures import NAMES
    from pipeline.report.quality import change, span

    metrics = work(job.project, job.run, job.console)
    base, tuned = metrics["base"], metrics["tuned"]
    table = Table("golden set", "base", "tuned", "change", "95 % interval")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, title in NAMES.items():
        if name in base:
            limits = span(name, metrics["intervals"][name]["change"])
            scores = (f"{base[name]:,.4g}", f"{tuned[name]:,.4g}", change(name, base[name], tuned[name]))
            table.add_row(title, *scores, limits)
    if forgetting := metrics["forgetting"]:
        told = f"{forgetting['change']:+.1%}{', forgotten' if forgetting['flagged'] else ''}"
        table.add_row("general text", f"{forgetting['base']:,.4g}", f"{forgetting['tuned']:,.4g}", told, "")
    job.console.print(table)
    for sample in metrics["samples"][:2]:
        for name in ("prompt", "base", "tuned", "reference"):
            text = " ".join(sample[name].split())
            job.console.print(f"  {name + ':':<11}{text[:400]}", markup=False)
        job.console.print()


if __name__ == "__main__":
    main(evaluate, str(__doc__), needs="train")
