"""The guard on releases: the installed ones are supported, and on any other the library's own code runs."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest

from pipeline.compat import versions
from pipeline.compat.spacy_parser import Parser
from pipeline.compat.spacy_speedups import speed_up
from pipeline.config import model_path
from pipeline.screen.pii import ner

TEXTS = ["Anna Schmidt from Berlin wrote to Peter Miller.", "", "My name is Karl Weber, I live in Hamburg."]


@pytest.mark.parametrize("package", list(versions.SUPPORTED))
def test_the_installed_release_is_supported(package: str) -> None:
    """Fails on a new series: see whether the other tests of this folder hold with it, then add it to `SUPPORTED`."""
    assert versions.supported(package), f"{package} {version(package)} is not in pipeline/compat/versions.py"


@pytest.mark.parametrize("package", list(versions.SUPPORTED))
def test_an_unsupported_release_leaves_spacy_as_it_is_with_the_same_entities(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import spacy

    def find() -> tuple[ner.SpacyNer, Any]:
        model = ner.SpacyNer("en", model_path("ner-small"), ["PERSON", "LOCATION"])
        return model, [[(each.entity_type, each.start, each.end) for each in row] for row in model.find_all(TEXTS)]

    fast, expected = find()
    assert fast._parser is not None
    assert any(expected)
    monkeypatch.setitem(versions.SUPPORTED, package, ("0.1",))
    stock, entities = find()
    assert stock._parser is None
    assert entities == expected
    nlp = spacy.load(model_path("ner-small"))
    model = nlp.get_pipe("ner").model
    before = [(layer.name, layer.ops) for layer in model.walk()]
    speed_up(nlp)
    assert [(layer.name, layer.ops) for layer in model.walk()] == before
    assert not Parser.fits(nlp.get_pipe("ner"))
