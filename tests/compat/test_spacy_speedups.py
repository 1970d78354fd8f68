"""spaCy's layers made faster: the vectors of every word, and so the entities, are those of the layers as they were."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from pipeline.compat import spacy_speedups
from pipeline.config import model_path

TEXTS = (
    "Hello Anna, Anna Schmidt from Berlin does not have the card. It doesn't work; it does not.",
    "",
    "Hello Hello hello HELLO \n\n hello",
    "x",
)


def embedding(nlp: Any) -> Any:
    return nlp.get_pipe("ner").model.get_ref("tok2vec")


@pytest.fixture(scope="module")
def stock() -> Any:
    import spacy

    return spacy.load(model_path("ner-small"))


@pytest.fixture
def changed(stock: Any) -> Any:
    model = copy.deepcopy(stock.get_pipe("ner").model)
    spacy_speedups._embed_once(model)
    spacy_speedups._use_numpy(model)
    return model.get_ref("tok2vec")


@pytest.mark.parametrize(
    "factors", [spacy_speedups.FACTORS, np.zeros_like(spacy_speedups.FACTORS)], ids=["hashes", "all rows of one hash"]
)
def test_vectors_are_the_same(stock: Any, changed: Any, monkeypatch: pytest.MonkeyPatch, factors: np.ndarray) -> None:
    monkeypatch.setattr(spacy_speedups, "FACTORS", factors)
    docs = [stock.make_doc(text) for text in TEXTS]
    np.testing.assert_allclose(changed.predict(docs), embedding(stock).predict(docs), rtol=1e-4, atol=1e-5)


def test_words_are_embedded_once_a_batch(stock: Any, changed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    embed = next(layer for layer in changed.walk() if layer.name == "hashembed")
    forward, sizes = embed._func, []

    def counted(layer: Any, ids: Any, is_train: bool) -> Any:
        sizes.append(len(ids))
        return forward(layer, ids, is_train)

    monkeypatch.setattr(embed, "_func", counted)
    changed.predict([stock.make_doc("the card and the card"), stock.make_doc("and the card")])
    assert sizes == [3]


def test_embeddings_with_vectors_stay_as_they_are() -> None:
    import spacy

    embed = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 8,
        "attrs": ["NORM"],
        "rows": [50],
        "include_static_vectors": True,
    }
    encode = {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": 8,
        "window_size": 1,
        "maxout_pieces": 2,
        "depth": 1,
    }
    nlp = spacy.blank("en")
    config = {"model": {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}}
    model = nlp.add_pipe("tok2vec", config=config).model
    before = [layer.name for layer in model.walk()]
    spacy_speedups._embed_once(model)
    assert [layer.name for layer in model.walk()] == before


def test_an_embedding_by_one_layer_stays_as_it_is() -> None:
    from spacy.ml.featureextractor import FeatureExtractor
    from thinc.api import HashEmbed, chain, list2ragged, ragged2list, with_array

    model: Any = chain(FeatureExtractor(["NORM"]), list2ragged(), with_array(HashEmbed(8, 50, column=0)), ragged2list())
    before = [layer.name for layer in model.walk()]
    spacy_speedups._embed_once(model)
    assert [layer.name for layer in model.walk()] == before
