"""Writes the run's HTML page from its metrics."""

from __future__ import annotations

from jobs import Job, main


def report(job: Job) -> None:
    """Writes the page and prints where it is."""
    from pipeline.report.page import write

    job.console.print(write(job.project, job.run))


if __name__ == "__main__":
    main(report, str(__doc__), needs="curate", needs_ray=False)
