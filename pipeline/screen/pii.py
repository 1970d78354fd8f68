"""Personal data: Presidio's recognisers and the dump's known entities, replaced by typed placeholders.

Output contract: `PiiStage` replaces every finding in `prompt` and `response` of unmarked rows by `<TYPE>` and writes
`pii`, the types found in reading order, prompt first. It marks nothing and leaves `id` as it is. `Scrubber` does one
text, for whoever must treat text exactly as the training data was treated. Types: EMAIL_ADDRESS, IBAN_CODE,
PHONE_NUMBER, CREDIT_CARD, IP_ADDRESS, URL_CREDENTIALS, DE_TAX_ID, DE_VAT_ID, and PERSON from the known entities and,
where the configuration names a spaCy model for the language, from named-entity recognition.
Findings equal those of a stock `AnalyzerEngine` with the same recognisers; a recogniser whose necessary condition does
not hold in a text is not run. Presidio's context words stay off without an NER model: they would raise scores that
are over the threshold anyway. Other entities of an NER model (places, companies, dates) are left in the text.
This module does not find names of third parties without an NER model, and does not know what a text means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import Pii
from pipeline.errors import MissingModelError
from pipeline.screen.entities import Entities, KnownEntities
from pipeline.screen.spans import Finding, merge, replace


class Scrubber:
    """Finds and replaces personal data in one text. Holds one Presidio `AnalyzerEngine` per language."""

    def __init__(self, settings: Pii, languages: Sequence[str]) -> None:
        from pipeline.screen.recognisers import ANY, NEEDS

        self._threshold = settings.score_threshold
        self._any = ANY.search
        self._needs = tuple((name, needs.search) for name, needs in NEEDS.items())
        self._engines = {language: engine(language, settings.ner.get(language)) for language in languages}
        self._ner = frozenset(settings.ner)
        self._default = languages[0]

    def find(self, text: str, language: str | None = None) -> list[Finding]:
        """Returns Presidio's findings in a text, which may overlap; an unknown language counts as the first."""
        language = language if language in self._engines else self._default
        types = [name for name, needed in self._needs if needed(text)] if self._any(text) else []
        if language in self._ner:
            types.append("PERSON")
        if not types:
            return []
        found = self._engines[language].analyze(text, language, entities=types, score_threshold=self._threshold)
        return [Finding(result.start, result.end, result.entity_type, result.score) for result in found]

    def scrub(self, text: str, language: str | None = None, others: Iterable[Finding] = ()) -> tuple[str, list[str]]:
        """Returns the text with placeholders and the types replaced, in reading order; `others` adds findings."""
        findings = merge([*self.find(text, language), *others])
        return replace(text, findings), [finding.type for finding in findings]


class PiiStage:
    """Scrubs `prompt` and `response`; one instance per actor."""

    def __init__(self, settings: Pii, languages: Sequence[str], known: KnownEntities) -> None:
        self._known = known if settings.known_entities else None
        self._scrubber = Scrubber(settings, languages)

    def __call__(self, table: pa.Table) -> pa.Table:
        columns = {name: table[name].to_pylist() for name in ("prompt", "response", "pii", "entities", "lang")}
        for row in np.flatnonzero(schema.unmarked(table)):
            types: list[str] = []
            for name in ("prompt", "response"):
                if text := columns[name][row]:
                    own: Entities = columns["entities"][row] or ()
                    known = self._known.find(text, own) if self._known else ()
                    columns[name][row], found = self._scrubber.scrub(text, columns["lang"][row], known)
                    types += found
            columns["pii"][row] = types
        for name in ("prompt", "response", "pii"):
            field = schema.WORKING.field(name)
            column = pa.array(columns[name], field.type)
            table = table.set_column(table.schema.get_field_index(name), field, column)
        return table


def engine(language: str, model: str | None) -> Any:
    """Returns Presidio's `AnalyzerEngine` for one language with exactly our recognisers, and PERSON from `model`."""
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NoOpNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    from pipeline.screen.recognisers import recognisers

    found = recognisers(language)
    if model is None:
        nlp = NoOpNlpEngine([{"lang_code": language, "model_name": "none"}])
    else:
        nlp = _spacy(language, model)
        found.append(SpacyRecognizer(supported_language=language, supported_entities=["PERSON"]))
    registry = RecognizerRegistry(recognizers=found, supported_languages=[language])
    return AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=[language])


def _spacy(language: str, model: str) -> Any:
    """Returns Presidio's spaCy engine; Presidio would download a missing model, so it is looked for first."""
    import spacy
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine

    if not (spacy.util.is_package(model) or Path(model).is_dir()):
        raise MissingModelError(
            f"curate.pii.ner names the spaCy model {model} for `{language}`, which is not installed: "
            f"python -m spacy download {model}"
        )
    people = {"PER": "PERSON", "PERSON": "PERSON"}
    settings = NerModelConfiguration(model_to_presidio_entity_mapping=people, labels_to_ignore=[])
    nlp = SpacyNlpEngine([{"lang_code": language, "model_name": model}], settings)
    nlp.load()
    labels = {label for pipe in nlp.nlp[language].pipe_labels.values() for label in pipe}
    settings.labels_to_ignore = labels - set(people)
    return nlp
