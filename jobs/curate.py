"""Curates a dump: what is read, kept and rejected, and why. `--input` takes files, folders and URIs."""

from __future__ import annotations

from jobs import Job, main


def curate(job: Job) -> None:
    """Curates and prints the counts."""
    from pipeline.curation.curate import CARD
    from pipeline.curation.curate import curate as work
    from pipeline.report import counts_table

    counts_table.counts(work(job.project, job.run, job.inputs, job.console, job.earlier), job.console)
    job.console.print(f"data card: {job.run.full(CARD)}   story of a row: python -m jobs.why RUN ROW")


if __name__ == "__main__":
    main(curate, str(__doc__))
