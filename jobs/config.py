"""Prints the configuration reference as Markdown: every setting, its values, its default and what it means."""

from __future__ import annotations

import argparse

from pipeline.config import reference


def main() -> None:
    """Prints the reference."""
    argparse.ArgumentParser(prog="python -m jobs.config", description=__doc__).parse_args()
    print(reference.markdown(), end="")


if __name__ == "__main__":
    main()
