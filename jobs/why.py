"""Explains why rows were kept or rejected: every stage, score, threshold, twin and split. Shows no personal data.

A row's name is its id (at least its first 6 digits), its id in the dump, alone or as SOURCE:ID, or PATH:LINE.
"""

from __future__ import annotations

import argparse

from jobs import absolute_path, console, one_line_errors
from pipeline.explain import terminal
from pipeline.explain.story import explain
from pipeline.run import Run


def main() -> None:
    """Prints the stories of rows."""
    parser = argparse.ArgumentParser(prog="python -m jobs.why", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="run folder: a path or a URI")
    parser.add_argument("rows", nargs="+", metavar="ROW", help="id, id in the dump, SOURCE:ID or PATH:LINE")
    parser.add_argument("--text", action="store_true", help="also show the scrubbed text of rows that were kept")
    args = parser.parse_args()
    with one_line_errors("why"):
        run, output = Run.open(absolute_path(args.run), make=False), console()
        for name in args.rows:
            stories = explain(run, name, args.text)
            for story in stories:
                terminal.story(story, output)
            if not stories[0].steps:
                output.print(f"\n{len(stories):,} rows: give the id of one for its whole story")


if __name__ == "__main__":
    main()
