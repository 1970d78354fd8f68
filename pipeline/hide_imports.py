"""Keeping heavy optional packages out of processes that do not use them.

Output contract: inside `without("torch")` a first import of torch fails as if it were not installed, so a library that
merely likes to have it does without; a module that is already there stays. Afterwards it imports as ever.
Why: spaCy and Presidio import torch and transformers when they find them. In a process that only matches patterns that
is most of its start-up time and of its memory. This module does not know which process needs what.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Hides top-level packages that are not imported yet."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # what the import system takes for "there is none"
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
