"""Plans before a run: which model fits which card, how it would be trained there, hours, cost, licence.

`python -m jobs.plan [CONFIG] [--card 24] [--price 0.9] [--rows 50000 --tokens-per-row 220 | --run RUN]` needs no GPU
and no network.
"""

from __future__ import annotations

import argparse

from jobs import console, one_line_errors, place
from pipeline import config
from pipeline.run import Run


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.plan", description=__doc__)
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="the model project's YAML file; none: the defaults")
    parser.add_argument("--card", nargs="+", default=["16", "24", "40", "80", "141"], help="GB, or names such as H100")
    parser.add_argument("--price", type=float, metavar="EUR", help="of one hour of the card")
    parser.add_argument("--rows", type=int, help="training rows (50,000)")
    parser.add_argument("--tokens-per-row", type=int, help="tokens of a row, template included (220)")
    parser.add_argument("--run", metavar="DIR", help="run folder: counts its rows, corrects speed by what it measured")
    return parser.parse_args()


def main() -> None:
    from pipeline.train import proposal

    args = arguments()
    with one_line_errors("plan"):
        project = config.load(args.config) if args.config else None
        run = Run.open(place(args.run), make=False) if args.run else None
        proposal.show(project, run, args.card, args.rows, args.tokens_per_row, args.price, console())


if __name__ == "__main__":
    main()
