"""The vectorised parse: with any weights, labels and boundaries, the entities that spaCy's own component sets."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest

from pipeline.compat.spacy_parser import Parser

LABELS = ("PERSON", "ORG", "LOC")
WORDS = [
    "Anna",
    "Schmidt",
    "from",
    "Berlin",
    "wrote",
    "to",
    "Acme",
    "Corp",
    ".",
    ",",
    "\n",
    "(",
    ")",
    "is",
    "  ",
    "\n\n",
]


def model(pieces: int, upper: bool, senter: bool, seed: int = 0) -> Any:
    """A pipeline whose `ner` has random weights, so that every move is made."""
    import spacy
    from spacy.training import Example

    spacy.util.fix_random_seed(seed)
    embed = {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "width": 16,
        "depth": 1,
        "embed_size": 100,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": True,
        "pretrained_vectors": None,
    }
    parser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 8,
        "maxout_pieces": pieces,
        "use_upper": upper,
        "tok2vec": embed,
    }
    nlp = spacy.blank("en")
    if senter:
        nlp.add_pipe("sentencizer")
    component = nlp.add_pipe("ner", config={"model": parser})
    for label in LABELS:
        component.add_label(label)
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("x"), {"entities": []})])
    rng = np.random.default_rng(seed)
    for layer in (component.model.get_ref("lower"), component.model.get_ref("upper")):
        for name in layer.param_names:
            layer.set_param(name, rng.normal(size=layer.get_param(name).shape).astype("f"))
    return nlp


def texts(count: int) -> list[str]:
    rng = Random(count)
    return ["", " ", "\n", "Anna", "Anna \n"] + [
        " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 30))) for _ in range(count)
    ]


@pytest.mark.parametrize("senter", [False, True])
@pytest.mark.parametrize(("pieces", "upper"), [(1, True), (2, True), (3, True), (1, False), (2, False)])
def test_the_entities_are_those_of_the_component(pieces: int, upper: bool, senter: bool) -> None:
    nlp = model(pieces, upper, senter)
    expected = [[(e.start, e.end - 1, e.label_) for e in doc.ents] for doc in nlp.pipe(texts(300))]
    assert Parser.fits(nlp.get_pipe("ner"))
    with nlp.select_pipes(disable="ner"):
        parsed = list(Parser(nlp.get_pipe("ner")).entities(list(nlp.pipe(texts(300)))))
    assert parsed == expected
    long = [end - start for entities in expected for start, end, _ in entities]
    assert len(long) > 300
    assert {0, 1, 2} <= set(long)
    assert all(end < start for entities in parsed for (_, end, _), (start, _, _) in pairwise(entities))


def test_no_documents_and_empty_ones_have_no_entities() -> None:
    nlp = model(2, True, False)
    parser = Parser(nlp.get_pipe("ner"))
    assert list(parser.entities([])) == []
    assert list(parser.entities([nlp.make_doc(""), nlp.make_doc("")])) == [[], []]


def test_a_component_that_is_not_plain_is_left_to_spacy() -> None:
    component = model(2, True, False).get_pipe("ner")
    component.cfg["beam_width"] = 4
    assert not Parser.fits(component)
    unseen = model(2, True, False).get_pipe("ner")
    unseen.add_label("MISC")
    assert not Parser.fits(unseen)
    assert not Parser.fits(model(2, True, True).get_pipe("sentencizer"))
