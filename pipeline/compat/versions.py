"""The releases of other libraries whose private parts this package relies on.

Output contract: `supported` tells whether the installed releases are of a series listed in `SUPPORTED`. On any other
release the replacements of this package are not applied, and the library's own slower code gives the same results.
To add a series, run tests/compat with it.
"""

from __future__ import annotations

from importlib.metadata import version

SUPPORTED = {"spacy": ("3.8",), "thinc": ("8.3",)}  # package -> series, as major.minor


def supported(*packages: str) -> bool:
    """Whether the installed release of each package is of a supported series."""
    return all(version(package).rsplit(".", 1)[0] in SUPPORTED[package] for package in packages)
