"""Personal data: Presidio's recognisers, NER and the dump's known entities, replaced by placeholders or keyed tags.

Output contract: `PiiStage` replaces every finding in every turn of unmarked rows by `<TYPE>` (or by a tag, see
`pseudonyms`) and writes `pii`, the types found in reading order, prompt first. It marks nothing and leaves `id` as
it is. `Scrubber` treats single texts exactly as the training data. Every search reads folded texts (`fold`); what is
replaced is the text as written. Types: those of `recognisers.PREFILTERS`, those of `curate.pii.patterns`, PERSON from
the known entities, and the configured `entities` from the language's NER model. A finding that is, as a whole, a member
of `curate.pii.allow_list` is dropped. Findings equal those of a stock `AnalyzerEngine` that reads the folded text with
the same recognisers (`engine` builds it, tests and the benchmark compare). The prefilters run over a batch's distinct
texts as a column, and a recogniser is called, directly, for the few texts that its prefilter matches.
This module does not find names of third parties without an NER model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.config import Pii
from pipeline.screen.pii.entities import KnownEntities
from pipeline.screen.pii.fold import FoldedTexts
from pipeline.screen.pii.spans import Finding, merge, replace

FEW = 16  # texts: Python's `re` is faster than a column


class Scrubber:
    """Finds and replaces personal data. Holds the recognisers, and one NER model per language that has one."""

    def __init__(self, settings: Pii, languages: Sequence[str], key: bytes | None = None) -> None:
        """`key`: of the modes that need one, see `pseudonyms.key_of`; raises `MissingModelError`, `ConfigError`."""
        from pipeline.screen.pii import ner
        from pipeline.screen.pii.pseudonyms import naming
        from pipeline.screen.pii.recognisers import GATE, PREFILTERS, UNGATED, expressions, is_allowed, recognisers

        self._settings, self._languages = settings, tuple(languages)
        self._name = naming(settings, key)
        self._gate, self._is_allowed = GATE, is_allowed(settings.allow_list)
        every = recognisers(languages[0], settings.patterns)
        built_in = zip(PREFILTERS.items(), every, strict=False)
        self._built_in = [(kind, prefilter, each) for (kind, prefilter), each in built_in if kind not in settings.leave]
        self._ungated = UNGATED
        self._configured = [(expressions(each), each) for each in every[len(PREFILTERS) :]]
        self._ner = {
            language: ner.load(language, model, settings.entities)
            for language, model in settings.ner.items()
            if language in languages
        }

    def find_all(self, texts: Sequence[str], languages: Sequence[str | None]) -> dict[int, list[Finding]]:
        """Returns the findings, which may overlap, of the texts that have any, by position.

        `languages`: one per text; an unknown one counts as the first of the project's.
        """
        folded = FoldedTexts(texts)
        return folded.restored(self.find_in_folded(folded.texts, languages))

    def find_in_folded(self, texts: Sequence[str], languages: Sequence[str | None]) -> dict[int, list[Finding]]:
        """Returns the findings in folded texts, as positions in these."""
        positions: dict[tuple[str, str | None], list[int]] = {}  # a text that recurs in a language is treated once
        for position, text_and_language in enumerate(zip(texts, languages, strict=True)):
            positions.setdefault(text_and_language, []).append(position)
        distinct = [text for text, _ in positions]
        results: dict[int, list[Any]] = {}
        self._match(distinct, results)
        self._recognise(distinct, [language for _, language in positions], results)
        groups = list(positions.values())
        resolved = ((groups[number], self._resolve(distinct[number], group)) for number, group in results.items())
        return {position: [*findings] for group, findings in resolved if findings for position in group}

    def _match(self, texts: Sequence[str], results: dict[int, list[Any]]) -> None:
        """Adds the results of the pattern recognisers."""
        numbers = matching(self._gate, texts)
        possible = [texts[number] for number in numbers]
        for kind, prefilter, recogniser in self._built_in:
            if kind in self._ungated:
                matched = matching(prefilter, texts)
            else:
                matched = [numbers[index] for index in matching(prefilter, possible)]
            for number in matched:
                _add(results, number, recogniser.analyze(texts[number], [kind]))
        for searches, recogniser in self._configured:
            for number, text in enumerate(texts):
                if any(search(text) for search in searches):
                    _add(results, number, recogniser.analyze(text, recogniser.supported_entities))

    def _recognise(self, texts: Sequence[str], languages: Sequence[str | None], results: dict[int, list[Any]]) -> None:
        """Adds the results of the NER models."""
        spoken = [language if language in self._languages else self._languages[0] for language in languages]
        for language, model in self._ner.items():
            numbers = [number for number, name in enumerate(spoken) if name == language]
            for number, entities in zip(numbers, model.find_all([texts[number] for number in numbers]), strict=True):
                _add(results, number, entities)

    def _resolve(self, text: str, results: list[Any]) -> list[Finding]:
        """Returns results as `AnalyzerEngine` does: over the threshold, none inside a better one, none allowed."""
        from presidio_analyzer import EntityRecognizer

        certain = [result for result in results if result.score >= self._settings.score_threshold]
        kept = EntityRecognizer.remove_duplicates(certain)
        return self.personal(text, [Finding(each.start, each.end, each.entity_type, each.score) for each in kept])

    def personal(self, text: str, findings: Iterable[Finding]) -> list[Finding]:
        """Returns the findings in a text that the allow list does not allow."""
        return [finding for finding in findings if not self._is_allowed(text[finding.start : finding.end])]

    def find(self, text: str, language: str | None = None) -> list[Finding]:
        """Returns the findings in one text, which may overlap."""
        return self.find_all([text], [language]).get(0, [])

    def replace(self, text: str, findings: Iterable[Finding]) -> tuple[str, list[str]]:
        """Returns the text with placeholders, or tags, and the types replaced, in reading order."""
        merged = merge(findings)
        return replace(text, merged, self._name), [finding.type for finding in merged]

    def scrub(self, text: str, language: str | None = None, others: Iterable[Finding] = ()) -> tuple[str, list[str]]:
        """Finds and replaces in one text; `others`: further findings in it."""
        return self.replace(text, [*self.find(text, language), *others])


def matching(prefilter: str, texts: Sequence[str]) -> list[int]:
    """Returns the positions of the texts that a prefilter matches: by RE2, or by Python for a few texts.

    RE2 compiles the expression at every call. Where the two differ (`\\w` beyond ASCII), either is a valid prefilter.
    """
    if len(texts) < FEW:
        search = re.compile(prefilter).search
        return [position for position, text in enumerate(texts) if search(text)]
    return list(np.flatnonzero(pc.match_substring_regex(pa.array(texts, pa.string()), prefilter)).tolist())


def _add(results: dict[int, list[Any]], number: int, more: list[Any]) -> None:
    if more:
        results.setdefault(number, []).extend(more)


class PiiStage:
    """Scrubs every turn of a row; one instance per actor."""

    def __init__(self, settings: Pii, languages: Sequence[str], known: KnownEntities, key: bytes | None = None) -> None:
        self._known = known if settings.known_entities else None
        self._scrubber = Scrubber(settings, languages, key)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = np.flatnonzero(schema.unmarked(table))
        chosen = table.take(pa.array(rows))
        column, starts = schema.turns(chosen)
        texts, owner = column.to_pylist(), np.repeat(np.arange(len(rows)), np.diff(starts))
        types: list[list[str]] = [[] for _ in rows]
        findings = self._find_all(texts, chosen.select(["lang", "entities"]).take(pa.array(owner)))
        for position in sorted(findings):
            texts[position], replaced = self._scrubber.replace(texts[position], findings[position])
            types[owner[position]] += replaced
        scrubbed = schema.with_turns(chosen, pa.array(texts, pa.string()))
        for name in (*schema.FIRST, "later"):
            table = _written(table, name, rows, scrubbed[name].combine_chunks())
        return _written(table, "pii", rows, pa.array(types, table["pii"].type))

    def _find_all(self, texts: list[str], rows: pa.Table) -> dict[int, list[Finding]]:
        """Returns the findings of the texts that have any, by position. `rows`: the row of each text."""
        folded = FoldedTexts(texts)
        findings = self._scrubber.find_in_folded(folded.texts, rows["lang"].to_pylist())
        if self._known is not None:
            for position, names in self._known.find_all(folded.texts, rows["entities"]).items():
                findings.setdefault(position, []).extend(self._scrubber.personal(folded.texts[position], names))
        return folded.restored(findings)


def _written(table: pa.Table, name: str, rows: np.ndarray, values: pa.Array) -> pa.Table:
    """Returns the table with new values in some rows of one column."""
    source = np.arange(table.num_rows)
    source[rows] = table.num_rows + np.arange(len(rows))
    return schema.replaced(table, name, pa.concat_arrays([table[name].combine_chunks(), values]).take(source))


def engine(settings: Pii, language: str) -> Any:
    """Returns the stock `AnalyzerEngine` of one language with our recognisers and the configured NER model.

    `Scrubber` does without it; the tests and the benchmark compare the two, and the leak audit uses this one.
    """
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    from pipeline.screen.pii import ner
    from pipeline.screen.pii.recognisers import recognisers

    built_in = recognisers(language, settings.patterns)
    every = [each for each in built_in if each.supported_entities[0] not in settings.leave]
    nlp = NoOpNlpEngine([{"lang_code": language, "model_name": "none"}])
    if model := settings.ner.get(language):
        nlp, recogniser = ner.load(language, model, settings.entities).stock(language)
        every.append(recogniser)
    registry = RecognizerRegistry(recognizers=every, supported_languages=[language])
    return AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=[language])
