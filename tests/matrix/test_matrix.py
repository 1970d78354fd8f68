"""The page of the matrix is its command's output: a slice of it is made anew here."""

from __future__ import annotations

import re
from functools import cache

import pytest

from pipeline.models import architectures
from tests.matrix import bases, page
from tests.matrix.cross import ANSWERED, row
from tests.models.test_template_presets import FOLDER

SLICE = [
    ("llama", "SmolLM2"),
    ("gemma4_text", "serving alone has an empty thinking block"),
    ("phi3", "a blank ends the generation prompt"),
    ("qwen3", "bos_token is joined and unset"),
    ("qwen3_5_text", "messages are left out"),
]


@cache
def tables() -> dict[str, dict[str, list[str]]]:
    """Returns by model type and template the cells of the page, sentences in place of their numbers."""
    written = page.PAGE.read_text(encoding="utf-8")
    sentences = dict(re.findall(r"^(\d+)\. (.+)$", written, re.MULTILINE))
    spelt = re.sub(r"\((\d+)\)", lambda found: f"({sentences[found[1]]})", written)
    parts = re.split(r"^## .+ \(`(\w+)`\)$", spelt.split("\n## Sentences")[0], flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    lines = {kind: re.findall(r"^\| (.+) \|$", body, re.MULTILINE) for kind, body in pairs}
    return {kind: {line.split(" | ")[0]: line.split(" | ")[1:] for line in rows[1:]} for kind, rows in lines.items()}


def test_the_page_has_every_architecture_and_template() -> None:
    assert list(tables()) == list(architectures.ARCHITECTURES) == list(bases.ARCHITECTURES)
    assert all(list(rows) == list(bases.TEMPLATES) for rows in tables().values())
    texts = {template.text for template in bases.TEMPLATES.values()}
    assert [path.name for path in FOLDER.glob("*.jinja") if path.read_text(encoding="utf-8") not in texts] == []


def test_nothing_on_the_page_has_failed() -> None:
    assert "FAILED" not in page.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("model_type", "name"), SLICE)
def test_a_slice_made_anew_is_that_of_the_page(model_type: str, name: str) -> None:
    sentences: dict[str, int] = {}
    line = page.row(name, row(model_type, name, engine=name == ANSWERED), sentences)
    for sentence, number in sentences.items():
        line = line.replace(f"({number})", f"({sentence})")
    assert line == f"| {' | '.join([name, *tables()[model_type][name]])} |"


def test_the_refused_architectures_are_those_of_the_code() -> None:
    written = page.PAGE.read_text(encoding="utf-8")
    assert page._refused() in written
