"""Named-entity recognition: names of people, places and organisations that no pattern can know, batch by batch.

Output contract: a recogniser's `find_all(texts)` gives, for every text, the Presidio results that a stock
`AnalyzerEngine` with the same model gives (`stock` builds its parts), of the configured types alone. A spaCy model (a
package or a folder, the bundled `ner-small` included) runs through `nlp.pipe` with only the components its entities
depend on and the parser of `compat.spacy_parser`; its PERSON marks pass `person_filter` where its folder has the lists,
in `stock` too. A transformers model (a hub name or a folder) runs through Presidio's own recogniser, chunks batched.
This module loads models: build one recogniser per process. Results are as good as the model.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipeline.batch import slices
from pipeline.compat.spacy_parser import Entity, Parser
from pipeline.compat.spacy_speedups import speed_up
from pipeline.errors import MissingModelError
from pipeline.screen.pii.person_filter import PersonFilter

LABELS = {  # a model's label -> Presidio's type
    "PER": "PERSON",
    "PERSON": "PERSON",
    "LOC": "LOCATION",
    "GPE": "LOCATION",
    "LOCATION": "LOCATION",
    "ORG": "ORGANIZATION",
    "ORGANIZATION": "ORGANIZATION",
}
SPACY_SCORE = 0.85  # spaCy gives no score; this is Presidio's for it
EMBEDDINGS = frozenset({"tok2vec", "transformer", "curated_transformer"})
BOUNDARIES = frozenset({"parser", "senter", "sentencizer"})
WORD_LEVEL = frozenset({"tagger", "morphologizer", "attribute_ruler", "lemmatizer", "trainable_lemmatizer"})
UNDERSTOOD = EMBEDDINGS | BOUNDARIES | WORD_LEVEL | {"ner"}  # spaCy's own components that set no entities but `ner`
BATCH_CHARACTERS = 25_000  # per call of a spaCy pipeline: its layers' outputs then stay in the processor's cache
BATCH_CHUNKS = 16  # of at most 400 characters, per forward pass of a transformers model


class Ner(Protocol):
    """A model that marks names."""

    def find_all(self, texts: Sequence[str]) -> list[list[Any]]:
        """Returns a list of Presidio `RecognizerResult` for each text."""
        ...

    def stock(self, language: str) -> tuple[Any, Any]:
        """Returns (NLP engine, recogniser) with which a stock `AnalyzerEngine` uses this model."""
        ...


def _of_transformers(model: str) -> bool:
    """Whether a name means a transformers model: a folder with `config.json`, or a hub name."""
    folder = Path(model)
    return (folder / "config.json").is_file() or ("/" in model and not folder.exists())


def needs_torch(model: str) -> bool:
    """Whether a model runs on torch: one of transformers, or a spaCy package built on one (`de_dep_news_trf`)."""
    return _of_transformers(model) or model.endswith("_trf")


def load(language: str, model: str, entities: Sequence[str]) -> Ner:
    """Loads a model for one language; raises `MissingModelError` where it is not there.

    `model`: a spaCy package or folder, or a transformers hub name or folder. `entities`: the Presidio types wanted.
    """
    if _of_transformers(model):
        return TransformersNer(language, model, entities)
    return SpacyNer(language, model, entities)


class SpacyNer:
    """A spaCy pipeline, reduced to the components that its entities depend on."""

    def __init__(self, language: str, model: str, entities: Sequence[str]) -> None:
        import spacy

        if not (spacy.util.is_package(model) or (Path(model).is_absolute() and Path(model).is_dir())):
            raise MissingModelError(
                f"curate.pii.ner names the spaCy model {model} for `{language}`, which is not installed: "
                f"python -m spacy download {model}"
            )
        self._model = model
        self._labels = {label: name for label, name in LABELS.items() if name in entities}
        self._filter = PersonFilter(Path(model)) if PersonFilter.exists_in(model) else None
        self._nlp = spacy.load(model)
        self._nlp.max_length = 1 << 30  # spaCy's own limit is about the parser's memory
        self._nlp.select_pipes(enable=_components(self._nlp))
        speed_up(self._nlp)
        last = self._nlp.pipeline[-1][1]
        self._parser = Parser(last) if Parser.fits(last) else None
        if self._parser:
            self._nlp.select_pipes(disable=self._nlp.pipe_names[-1])

    def find_all(self, texts: Sequence[str]) -> list[list[Any]]:
        """Returns Presidio results for each text, in order."""
        results: list[list[Any]] = []
        for rows in slices(map(len, texts), BATCH_CHARACTERS):
            docs = list(self._nlp.pipe(texts[rows], batch_size=rows.stop - rows.start))
            results += [list(self._results(*each)) for each in zip(docs, self._entities(docs), strict=True)]
        return results

    def _entities(self, docs: Sequence[Any]) -> Iterable[list[Entity]]:
        """Returns the (first token, last token, label) of each document's entities."""
        if self._parser:
            return self._parser.entities(docs)
        return ([(entity.start, entity.end - 1, entity.label_) for entity in doc.ents] for doc in docs)

    def _results(self, doc: Any, entities: Iterable[Entity]) -> Iterator[Any]:
        from presidio_analyzer import RecognizerResult

        for start, end, label in entities:
            if label in self._labels:
                stop = doc[end].idx + len(doc[end])
                result = RecognizerResult(self._labels[label], doc[start].idx, stop, SPACY_SCORE)
                if _accepted(self._filter, doc.text, result):
                    yield result

    def stock(self, language: str) -> tuple[Any, Any]:
        """Returns Presidio's own NLP engine and recogniser for the same model: the oracle of the tests."""
        from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
        from presidio_analyzer.predefined_recognizers import SpacyRecognizer

        persons = self._filter

        class Recognizer(SpacyRecognizer):  # type: ignore[misc]
            """Presidio's, whose PERSON marks pass the filter as well."""

            def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[Any]:
                results = super().analyze(text, entities, nlp_artifacts)
                return [result for result in results if _accepted(persons, text, result)]

        others = {label for pipe in self._nlp.component_names for label in _labels(self._nlp, pipe)} - set(self._labels)
        settings = NerModelConfiguration(
            model_to_presidio_entity_mapping=self._labels, labels_to_ignore=others, default_score=SPACY_SCORE
        )
        engine = SpacyNlpEngine([{"lang_code": language, "model_name": self._model}], settings)
        engine.load()
        wanted = sorted(set(self._labels.values()))
        return engine, Recognizer(supported_language=language, supported_entities=wanted)


def _accepted(persons: PersonFilter | None, text: str, result: Any) -> bool:
    """Whether a result is kept: any but a PERSON mark that the filter refuses, where there is one."""
    return persons is None or result.entity_type != "PERSON" or persons.accepts(text, result.start, result.end)


def _labels(nlp: Any, component: str) -> Iterable[str]:
    return getattr(nlp.get_pipe(component), "labels", ())


def _components(nlp: Any) -> list[str]:
    """Returns the components that a plain `ner`'s entities depend on, in order; all, where one is not `UNDERSTOOD`.

    Those are itself; the ones before it that set sentence boundaries, for an entity does not cross one; and the
    embedding layers that either listens to.
    """
    names, factories = list(nlp.pipe_names), [nlp.get_pipe_meta(name).factory for name in nlp.pipe_names]
    if factories.count("ner") != 1 or not set(factories) <= UNDERSTOOD:
        return names
    position = factories.index("ner")
    needed = {name for name, factory in zip(names[:position], factories, strict=False) if factory in BOUNDARIES}
    needed.add(names[position])
    for name in sorted(needed):
        model = getattr(nlp.get_pipe(name), "model", None)
        for layer in model.walk() if model is not None else ():
            upstream = getattr(layer, "upstream_name", None)
            needed |= {
                other
                for other, factory in zip(names, factories, strict=True)
                if other == upstream or (upstream == "*" and factory in EMBEDDINGS)
            }
    return [name for name in names if name in needed]


class TransformersNer:
    """A token-classification model through Presidio's recogniser, whose forward passes are made for a whole batch."""

    def __init__(self, language: str, model: str, entities: Sequence[str]) -> None:
        from presidio_analyzer.predefined_recognizers.ner import huggingface_ner_recognizer as presidio

        if presidio.hf_pipeline is None:
            importlib.reload(presidio)  # imported while `hide_imports.without` hid transformers
        self._entities = sorted(set(entities))
        try:
            self._recogniser = presidio.HuggingFaceNerRecognizer(  # loads the model
                supported_language=language,
                model_name=model,
                aggregation_strategy="first",  # whole words: half a name is a name
            )
        except (OSError, ValueError) as error:
            raise MissingModelError(
                f"curate.pii.ner names the transformers model {model} for `{language}`, which is not here: "
                f"hf download {model}"
            ) from error
        self._pipeline = self._recogniser.ner_pipeline

    def find_all(self, texts: Sequence[str]) -> list[list[Any]]:
        """Returns Presidio results for each text, in order."""
        chunks = {chunk.text for text in texts for chunk in self._recogniser.text_chunker.chunk(text)}
        ordered = sorted((chunk for chunk in chunks if chunk.strip()), key=lambda chunk: (len(chunk), chunk))
        outputs = self._pipeline(ordered, batch_size=BATCH_CHUNKS) if ordered else ()
        by_chunk: Mapping[str, Any] = dict(zip(ordered, outputs, strict=True))
        self._recogniser.ner_pipeline = lambda chunk: by_chunk.get(chunk, [])  # blank chunks hold no name
        try:
            return [list(self._of_types(self._recogniser.analyze(text, self._entities))) for text in texts]
        finally:
            self._recogniser.ner_pipeline = self._pipeline

    def _of_types(self, results: Iterable[Any]) -> Iterator[Any]:
        """Yields the results of the configured types: Presidio lets labels through that it cannot map."""
        return (result for result in results if result.entity_type in self._entities)

    def stock(self, language: str) -> tuple[Any, Any]:
        """Returns Presidio's own NLP engine and recogniser for the same model: the oracle of the tests."""
        from presidio_analyzer.nlp_engine import NoOpNlpEngine

        return NoOpNlpEngine([{"lang_code": language, "model_name": "none"}]), self._recogniser
