"""Rephrases questions of the training split with a local model and keeps the variants that pass every screen."""

from __future__ import annotations

from jobs import Job, main
from pipeline.synthesis.synthesize import synthesize as rephrase


def synthesize(job: Job) -> None:
    """Makes variants and prints counts and samples."""
    metrics = rephrase(job.project, job.run, job.console)
    rejected = "   ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in metrics["rejected"].items())
    job.console.print(f"asked {metrics['seeds']:,} questions   generated {metrics['generated']:,} variants")
    job.console.print(f"kept {metrics['kept']:,}   rejected: {rejected or 'none'}", markup=False)
    for sample in metrics["samples"][:3]:
        job.console.print(f"  real:       {sample['parent']!r}\n  synthetic:  {sample['variant']!r}", markup=False)


if __name__ == "__main__":
    main(synthesize, str(__doc__), needs="curate")
