"""The preview shows exactly what is trained, and leaves nothing behind."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from pipeline.errors import MissingStageError
from pipeline.models import template
from pipeline.run import Run
from pipeline.train.data import preview
from tests.models.test_template_presets import FOLDER, PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_the_spans_are_the_row_and_its_mask(name: str, make_project: Any) -> None:
    make, file, _, supervised, _ = PRESETS[name]
    place = file if file == template.DEFAULT else str(FOLDER / f"{file}.jinja")
    tokenizer = template.prepare_tokenizer(make(), make_project(chat_template=place).chat_template)
    row = template.encode(tokenizer, "lost card", "close it", 200)
    found = preview.spans(tokenizer, row)
    assert "".join(span.text for span in found) == tokenizer.decode(row.input_ids)
    learnt = "".join(span.text for span in found if span.supervised)
    assert learnt.strip() == supervised.strip()
    assert [span.text.strip() for span in found if span.special][-1] == template.stop_token(tokenizer).text
    assert preview.styled(found, colour=False).plain.count("⟦") == 1


def shown(project: Any, run: Run, count: int = 3, colour: bool = False) -> str:
    said = io.StringIO()
    console = Console(file=said, width=200, force_terminal=colour, color_system="standard" if colour else None)
    preview.show(project, run, count, console)
    return said.getvalue()


def test_rows_are_shown_with_their_masks(curated: Run, make_project: Any) -> None:
    plain = shown(make_project(), curated)
    assert plain.count("<|user|>") == 3
    assert len(re.findall(r"⟦about [^⟦]*<\|end\|>⟧", plain)) == 3
    assert "3 of 60 curated training rows" in plain
    coloured = shown(make_project(), curated, colour=True)
    assert "⟦about" not in coloured
    assert "\x1b[1;7;32m<|end|>" in coloured.replace("\x1b[1;32;7m", "\x1b[1;7;32m")
    assert "\x1b[90m" in coloured
    assert shown(make_project(seed=3), curated) != plain


def test_cut_rows_say_so(curated: Run, make_project: Any) -> None:
    said = shown(make_project(train={"max_length": 14}), curated, 60)
    assert "cut at train.max_length, 14 tokens" in said
    assert "nothing is left to learn, the row is skipped" in said
    assert "cut at" not in shown(make_project(), curated, 60)


def test_nothing_curated_is_a_sentence(tmp_path: Path, make_project: Any) -> None:
    with pytest.raises(MissingStageError, match=r"jobs\.curate"):
        shown(make_project(), Run.open(str(tmp_path / "empty")))


def test_the_job_previews_without_ray_and_leaves_no_trace(curated: Run, make_project: Any, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(make_project().model_dump(mode="json")))
    before = sorted(path for path in curated.local().rglob("*"))
    code = (
        "import runpy, sys; sys.argv = ['train', *sys.argv[1:]]; runpy.run_module('jobs.train', run_name='__main__');"
        "assert 'ray' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(config), "--run", str(curated.local()), "--preview", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "2 of 60 curated training rows" in done.stdout
    assert sorted(path for path in curated.local().rglob("*")) == before
