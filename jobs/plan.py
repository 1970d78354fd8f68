"""Plans before a run: which model fits which card, how it would be trained there, hours, cost, licence.

`python -m jobs.plan [CONFIG] [--card 24] [--price 0.9] [--rows 50000 --tokens-per-row 220 | --run RUN]` needs no GPU
and no network. `--recommend` (with CONFIG and --run) measures candidate models on the run's golden set instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jobs import absolute_path, console, one_line_errors, start_ray
from pipeline import config, preflight
from pipeline.errors import ConfigError
from pipeline.evaluate import recommend
from pipeline.models.load import Base
from pipeline.plan import catalogue, propose
from pipeline.run import Run
from pipeline.train import estimate

CARDS = ["16", "24", "40", "80", "141"]  # GB


def arguments() -> argparse.Namespace:
    """Returns the parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.plan", description=__doc__)
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="the model project's YAML file; none: the defaults")
    several: dict[str, Any] = {"nargs": "+", "action": "extend"}
    parser.add_argument("--card", **several, help="GB, or names such as H100")
    parser.add_argument("--price", type=float, metavar="EUR", help="of one hour of the card")
    parser.add_argument("--rows", type=int, help="training rows (50,000)")
    parser.add_argument("--tokens-per-row", type=int, help="tokens of a row, template included (220)")
    parser.add_argument("--run", metavar="DIR", help="run folder: counts its rows, corrects speed by what it measured")
    parser.add_argument("--recommend", action="store_true", help="name the smallest model that is good enough")
    parser.add_argument("--candidates", **several, metavar="MODEL", help="instead of the configuration's")
    parser.add_argument("--metric", choices=("rouge_l", "bits_per_byte"), help="instead of the configuration's")
    parser.add_argument("--target", type=float, help="what the tuned model shall reach")
    return parser.parse_args()


def _check(project: config.Project | None) -> None:
    """Raises what a training would find out of a base that is on this machine; downloads nothing."""
    if project is not None and (folder := catalogue.folder_of(project.base_model)) is not None:
        preflight.cheap(project, Base(project.base_model, folder, project.chat_template, folder))


def _recommend(project: config.Project, run: Run, args: argparse.Namespace) -> None:
    """Measures candidates and prints the advice."""
    given = {name: value for name in ("candidates", "metric", "target") if (value := getattr(args, name)) is not None}
    context = {"folder": Path.cwd()}  # relative paths on the command line start there
    settings = config.Recommend.model_validate({**project.recommend.model_dump(), **given}, context=context)
    start_ray()
    result = recommend.recommend(project.model_copy(update={"recommend": settings}), run, console())
    console().print(recommend.sentence(result), markup=False)


def main() -> None:
    """Prints plans, or with `--recommend` the advice."""
    args = arguments()
    with one_line_errors("plan"):
        project = config.load(args.config) if args.config else None
        run = Run.open(absolute_path(args.run), make=False) if args.run else None
        if not args.recommend:
            _check(project)
            work = estimate.work_of(run, args.rows, args.tokens_per_row)
            measured = estimate.correction(run) if run else None
            propose.show(project, work, measured, args.card or CARDS, args.price, console())
        elif project is None or run is None:
            raise ConfigError("--recommend needs CONFIG and --run: it measures on the run's golden set")
        else:
            _recommend(project, run, args)


if __name__ == "__main__":
    main()
