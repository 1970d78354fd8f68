"""Measures base and tuned model on the golden set: perplexity on answers, ROUGE-L, answers side by side."""

from __future__ import annotations

from rich.table import Table

from jobs import Job, main


def evaluate(job: Job) -> None:
    from pipeline.evaluate.golden import evaluate as work

    metrics = work(job.project, job.run, job.console)
    base, tuned = metrics["base"], metrics["tuned"]
    table = Table("golden set", "base", "tuned", "change")
    for column in table.columns[1:]:
        column.justify = "right"
    change = (tuned["perplexity"] / base["perplexity"] - 1) * 100
    table.add_row("perplexity", f"{base['perplexity']:,.2f}", f"{tuned['perplexity']:,.2f}", f"{change:+.1f} %")
    gain = tuned["rouge_l"] - base["rouge_l"]
    table.add_row("ROUGE-L", f"{base['rouge_l']:.3f}", f"{tuned['rouge_l']:.3f}", f"{gain:+.3f}")
    job.console.print(table)
    for sample in metrics["samples"][:2]:
        for name in ("prompt", "base", "tuned", "reference"):
            text = " ".join(sample[name].split())
            job.console.print(f"  {name + ':':<11}{text[:400]}", markup=False)
        job.console.print()


if __name__ == "__main__":
    main(evaluate, str(__doc__))
