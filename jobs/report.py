"""Writes the run's HTML page from its metrics."""

from __future__ import annotations

from jobs import Job, main
from pipeline.report.page import write


def report(job: Job) -> None:
    """Writes the page and prints where it is."""
    job.console.print(write(job.project, job.run), markup=False)


if __name__ == "__main__":
    main(report, str(__doc__), needs="curate", needs_ray=False)
