"""Curates a dump: what is read, kept and rejected, and why. `--input` takes files, folders and URIs."""

from __future__ import annotations

from jobs import Job, main
from pipeline.report import counts_table


def curate(job: Job) -> None:
    """Curates and prints the counts."""
    from pipeline.curation import curate  # spares `--help` the stages

    counts_table.counts(curate.curate(job.project, job.run, job.inputs, job.console, job.earlier), job.console)
    text = f"data card: {job.run.full(curate.CARD)}   story of a row: python -m jobs.why RUN ROW"
    job.console.print(text, markup=False)


if __name__ == "__main__":
    main(curate, str(__doc__))
