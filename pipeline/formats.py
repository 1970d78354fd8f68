"""The format of what each stage writes, as a number that is part of the stage's key.

Raise a stage's number when, for the same input, settings and models, it writes other rows, weights or figures than
before, or when what it leaves unfinished (a checkpoint, a part) can no longer be read. A docstring, a renamed helper or
a faster loop is no such change: what was finished before stays finished. A key holds the keys of the stages before it,
so the stages that follow are redone by themselves and keep their numbers. `tests/test_formats.py` fails where a stage
writes something else under its old number.
"""

from __future__ import annotations

FORMATS = {
    "read": 2,
    "screen": 2,
    "toxicity": 1,
    "dedup": 2,
    "curate": 1,
    "synthesize": 2,
    "pack": 2,
    "train": 1,
    "evaluate": 2,
    "export": 1,
    "gguf": 2,
}
