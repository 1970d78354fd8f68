"""Packs the curated rows and trains a QLoRA adapter on them: `python -m jobs.train CONFIG --run DIR`.

With `--preview [N]` it shows N rows as they would be trained, and trains nothing.
"""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from jobs import Job, main
from pipeline import preflight
from pipeline.models.load import Base
from pipeline.train import qlora
from pipeline.train.data import preview


def train(job: Job) -> None:
    """Checks what will be needed, trains and prints the figures."""
    preflight.check(job.project, Base.of(job.project), job.run, job.console)
    metrics = qlora.train(job.project, job.run, job.console)
    steps = [step for step in metrics["steps"] if step["loss"] is not None]
    evals = [result for result in metrics["evals"] if result["perplexity"] is not None]
    table = Table(title=f"train: {job.project.name}", title_justify="left", show_header=False)
    table.add_row("examples", f"{metrics['examples']:,} in {metrics['packed_rows']:,} packed rows")
    table.add_row("trained", f"{metrics['trainable_parameters']:,} of {metrics['parameters']:,} parameters")
    table.add_row("loss", f"{steps[0]['loss']:.4f} -> {steps[-1]['loss']:.4f} in {len(steps)} steps")
    if evals:
        table.add_row("validation perplexity", f"{evals[0]['perplexity']:.2f} -> {evals[-1]['perplexity']:.2f}")
    table.add_row("speed", f"{metrics['tokens_per_second']:,.0f} tokens/s on {metrics['device']}")
    table.add_row("time, peak memory", f"{metrics['seconds']:.0f} s, {metrics['peak_memory_gib']:.2f} GiB")
    table.add_row("adapter", escape(str(job.run.local("model/adapter"))))
    job.console.print(table)


def show(job: Job, count: int) -> None:
    """Shows `count` training rows, changes nothing."""
    preview.show(job.project, job.run, count, job.console)


if __name__ == "__main__":
    main(train, purpose="Train a QLoRA adapter on the run folder's curated rows.", needs="curate", preview=show)
