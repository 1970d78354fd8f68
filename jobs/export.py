"""Merges the adapter into the base model and checks the result: `python -m jobs.export CONFIG --run DIR`."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from jobs import Job, main
from pipeline.errors import GateError
from pipeline.export import gguf, merge


def export(job: Job) -> None:
    """Merges, makes the GGUF files and prints what was published."""
    metrics = merge.export(job.project, job.run, job.console)
    shipped = metrics["bases"][metrics["chosen"]]
    table = Table(title=f"export: {job.project.name}", title_justify="left", show_header=False)
    table.add_row("parameters", f"{metrics['parameters']:,} in {metrics['dtype']}")
    table.add_row("size", f"{metrics['bytes'] / 1e6:,.1f} MB in {len(metrics['files'])} files")
    table.add_row("merged into", merge.BASES[metrics["chosen"]])
    table.add_row("merged against adapter", f"perplexity {shipped['change']:+.2%}, first choice {shipped['top1']:.2%}")
    table.add_row("template", f"SHA-256 {metrics['template_sha256'][:16]}...")
    table.add_row("model", escape(str(job.run.local(merge.MERGED))))
    problem = None
    if job.project.export.gguf:
        files = gguf.export(job.project, job.run, job.console)
        for file in files["files"]:
            figures = f"{file['bytes'] / 1e6:,.1f} MB, perplexity {file['change']:+.2%}"
            table.add_row(file["kind"], "not published" if file["problem"] else figures)
        problem = gguf.problems(files)
    job.console.print(table)
    if problem:
        raise GateError(f"{problem}. Leave the kind out of export.gguf, or widen its gate under export.gguf_gates")


if __name__ == "__main__":
    main(export, purpose="Merge the run folder's adapter into its base model.", needs="train", needs_ray=False)
