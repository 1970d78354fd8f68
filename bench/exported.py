"""A run folder as `jobs.export` leaves it, without the jobs before: for what is measured or tested on a model.

Output contract: a finished stage `export` with the template's hash, whose `model/merged` has a file linked for each of
the model's. Only what serving needs is there: no metrics, no adapter.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.export import merge
from pipeline.run import Run


def exported(folder: Path, model: Path) -> Run:
    """Makes a run folder whose finished export is the model at `model`; returns it."""
    run = Run.open(str(folder))
    merged = run.local(merge.MERGED)
    if not merged.exists():
        shutil.copytree(model.absolute(), merged, copy_function=os.symlink)
    finish(run)
    return run


def finish(run: Run) -> None:
    """Declares what lies in `model/merged` exported."""
    from transformers import AutoTokenizer

    from pipeline.models.template import template_sha256

    stage = run.begin(merge.STAGE, "made")
    digest = template_sha256(AutoTokenizer.from_pretrained(run.local(merge.MERGED)))
    run.put_json(stage, merge.METRICS, {"template_sha256": digest})
    run.commit(stage, inputs={}, rows={})
