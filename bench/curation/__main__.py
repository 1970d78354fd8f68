"""`python -m bench.curation [--quick] [--json] [--only NAME ...]`: every ratio, measured in this one run.

Output contract: one line per key as it is measured; with `--json` one JSON object and nothing else. Times are not
printed: only a ratio means anything on another machine.
"""

from __future__ import annotations

import argparse
import importlib
import json

SUBJECTS = ("pii", "toxicity", "near", "whole")


def main() -> None:
    parser = argparse.ArgumentParser(description="Curation stages against the stock parts they are made of.")
    parser.add_argument("--quick", action="store_true", help="few rows: a few minutes in all")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=SUBJECTS, help="measure these subjects")
    args = parser.parse_args()
    found: dict[str, float | None] = {}
    for subject in args.only:
        measured = importlib.import_module(f"bench.curation.{subject}").measure(args.quick)
        found |= {key: None if value is None else round(value, 3) for key, value in measured.items()}
        if not args.json:
            for key in measured:
                print(f"{key:<28}{'not installed' if found[key] is None else found[key]}", flush=True)
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
