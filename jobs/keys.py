"""Makes, lists and revokes API keys, which a running service applies at once: `python -m jobs.keys --file FILE ...`.

`make` makes the file where it is missing, but no folder other than the `serve` of a run folder. The other two need it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from jobs import console, one_line_errors
from pipeline.errors import UserError
from serve_app import keys


def main() -> None:
    """Makes, lists or revokes keys."""
    parser = argparse.ArgumentParser(prog="python -m jobs.keys", description=__doc__)
    parser.add_argument("--file", required=True, type=Path, metavar="FILE", help=f"RUN/{keys.STORE} unless chosen")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="make | list | revoke")
    verbs.add_parser("list")
    verbs.add_parser("revoke").add_argument("which", metavar="NAME_or_ID")
    make = verbs.add_parser("make")
    make.add_argument("name", metavar="NAME")
    make.add_argument("--scopes", required=True, metavar="A,B", help=f"some of {','.join(keys.SCOPES)}")
    for unit in ("requests", "tokens"):
        make.add_argument(f"--{unit}-per-minute", type=int, metavar="N")
    args = parser.parse_args()
    with one_line_errors("keys"):
        _check(args.file, makes=args.verb == "make")
        if args.verb == "make":
            if "RAY_JOB_ID" in os.environ:
                raise UserError("Ray keeps what a job prints, and a key with it: make keys where FILE is, without Ray")
            limits = args.requests_per_minute, args.tokens_per_minute
            print(keys.make(args.file, args.name, args.scopes.split(","), *limits)[1])
        elif args.verb == "revoke":
            print(f"revoked: {keys.revoke(args.file, args.which).id}")
        else:
            table = Table("id", "name", "scopes", "created", "revoked", "requests/min", "tokens/min")
            for key in keys.read(args.file):
                table.add_row(*map(escape, key.cells()))
            console().print(table)


def _check(file: Path, makes: bool) -> None:
    """Raises `UserError` where the file of keys, or the folder to make it in, is missing."""
    folder = file.parents[1] if file.match(keys.STORE) else file.parent
    if makes and not folder.is_dir():
        raise UserError(f"there is no folder {folder} to make {file.name} in: correct --file, or make the folder first")
    if not makes and not file.exists():
        raise UserError(f"there is no file of keys {file}: `make` makes one")


if __name__ == "__main__":
    main()
