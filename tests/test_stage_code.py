"""A stage is redone when the code that made its rows changes: all of it is in its key, or in that of a stage before."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pipeline
from pipeline import curate, synthesize
from pipeline.evaluate import golden
from pipeline.report import datacard
from pipeline.train import gguf, merge, pack, qlora

ROOT = Path(pipeline.__file__).parent
# Make no row: settings and models are in the keys themselves, the others say where files are and what went wrong.
NEUTRAL = {"config", "errors.py", "progress.py", "run.py", "storage.py", "dedup/tasks.py", "report/__init__.py"}
NEUTRAL |= {"model_fingerprint.py"}
# Training: what it chooses is in the key as settings; how it is started, kept, told and tried out changes no weight.
CHOICES = {f"train/{name}.py" for name in ("settle", "plan", "presets", "recompute")}
COURSE = {f"train/{name}.py" for name in ("launch", "checkpoint", "journal", "reclaim", "trackers", "sampling")}
NEUTRAL |= CHOICES | COURSE | {"evaluate/generate.py", "evaluate/__init__.py", "train/__init__.py"}
STAGES = {
    **curate.CODE,
    "curate": (*curate.CODE["curate"], *datacard.WRITTEN_BY),
    "synthesize": synthesize.CODE,
    "pack": pack.CODE,
    "train": qlora.CODE,
    "evaluate": golden.CODE,
    "export": merge.CODE,
    "gguf": gguf.CODE,
}
OF_SYNTHESIS = {ROOT / "dedup" / "novelty.py"}  # lies among the code of another stage


def files(names: set[str]) -> set[Path]:
    found = (ROOT / name for name in names)
    return {file for path in found for file in (path.rglob("*.py") if path.is_dir() else [path])}


def imported(file: Path) -> set[Path]:
    """Returns the modules of the package that a file imports anywhere in it."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "pipeline":
            continue
        place = ROOT.joinpath(*str(node.module).split(".")[1:])
        names = [place / alias.name for alias in node.names]
        found |= {path for name in (place, *names) for path in (name.with_suffix(".py"), name / "__init__.py")}
    return {path for path in found if path.is_file() and path != ROOT / "__init__.py"}


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_imports_is_in_its_key(stage: str) -> None:
    until = list(STAGES)[: list(STAGES).index(stage) + 1]
    known = files(NEUTRAL | {name for earlier in until for name in STAGES[earlier]})
    left = files(set(STAGES[stage])) - (OF_SYNTHESIS if stage != "synthesize" else set())
    seen: set[Path] = set()
    while left:
        seen |= left
        left = {path for file in left for path in imported(file)} - seen - files(NEUTRAL)
    assert {path.relative_to(ROOT).as_posix() for path in seen - known} == set()
