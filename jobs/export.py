"""Merges the adapter into the base model and checks the result: `python -m jobs.export CONFIG --run DIR`."""

from __future__ import annotations

from rich.table import Table

from jobs import Job, main
from pipeline.train import merge


def export(job: Job) -> None:
    metrics = merge.export(job.project, job.run, job.console)
    table = Table(title=f"export: {job.project.name}", title_justify="left", show_header=False)
    table.add_row("parameters", f"{metrics['parameters']:,} in {metrics['dtype']}")
    table.add_row("size", f"{metrics['bytes'] / 1e6:,.1f} MB in {len(metrics['files'])} files")
    table.add_row("merged against adapter", f"largest logit difference {metrics['max_logit_difference']:.1e}")
    table.add_row("template", f"SHA-256 {metrics['template_sha256'][:16]}...")
    table.add_row("model", str(job.run.local(merge.MERGED)))
    job.console.print(table)


if __name__ == "__main__":
    main(export, purpose="Merge the run folder's adapter into its base model.", needs_ray=False)
