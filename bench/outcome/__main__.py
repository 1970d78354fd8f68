"""`python -m bench.outcome prepare --data FOLDER --model DIR --out DIR`, then `… run --prepared DIR --model DIR --json
FILE`: what a small pretrained model learns from three real sets of rows.

Output contract: `prepare` curates and synthesises on this machine, with Ray, into a folder of a few MiB. `run` trains
and measures on whatever device is there, without Ray, and prints one Markdown table; each figure is `base → tuned,
change [95 % interval over golden rows] ± half the 95 % interval over seeds`. FILE holds everything and is written after
every cell, so that the same command goes on where another was stopped. Perplexity and bits per byte are of the golden
answers, ROUGE-L of greedy answers to golden questions; the general text is the other half of the book that is mixed in.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs import one_line_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    prepare = verbs.add_parser("prepare", help="curate and synthesise; needs Ray, no GPU")
    prepare.add_argument("--data", type=Path, required=True, help="folder of the sets: support_qa, support_kb, …")
    prepare.add_argument("--model", type=Path, required=True, help="model folder, which rephrases the questions")
    prepare.add_argument("--out", type=Path, required=True, help="folder to fill")
    run = verbs.add_parser("run", help="train and measure; no Ray, GPU or CPU")
    run.add_argument("--prepared", type=Path, required=True, help="what `prepare` has filled")
    run.add_argument("--model", type=Path, required=True, help="model folder")
    run.add_argument("--json", type=Path, required=True, help="file of results; what is in it is not run again")
    run.add_argument("--seeds", type=int, default=3, help="trainings of a kind")
    run.add_argument("--only", nargs="+", default=[], metavar="CELL", help="globs on SET/WAY/SEED: 'support_qa/*'")
    run.add_argument("--minutes", type=float, help="begin no cell that would end later")
    run.add_argument("--quick", action="store_true", help="one seed, few steps, few rows: a try of the benchmark")
    args = parser.parse_args()
    with one_line_errors("outcome"):
        _prepare(args) if args.verb == "prepare" else _run(args)


def _prepare(args: argparse.Namespace) -> None:
    from bench.outcome.prepare import prepare

    prepare(args.data, args.model, args.out)
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {size / 2**20:.1f} MiB")


def _run(args: argparse.Namespace) -> None:
    from bench.outcome.cells import FULL, QUICK
    from bench.outcome.run import run
    from bench.outcome.table import markdown

    seeds, scale = (1, QUICK) if args.quick else (args.seeds, FULL)
    print(
        markdown(run(args.model.absolute(), args.prepared.absolute(), args.json, seeds, args.only, args.minutes, scale))
    )


if __name__ == "__main__":
    main()
