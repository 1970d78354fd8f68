"""A Presidio recogniser made of a function from a text to spans.

Output contract: a `SpanRecognizer` has one type, `KIND`, and yields (start, end, score) of what it finds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from presidio_analyzer import LocalRecognizer, RecognizerResult

Span = tuple[int, int, float]
"""Start, end and score of a finding."""


class SpanRecognizer(LocalRecognizer):  # type: ignore[misc]
    """A recogniser of one type; a subclass says what it is and where it is."""

    KIND: ClassVar[str]

    def __init__(self, supported_language: str) -> None:
        super().__init__(supported_entities=[self.KIND], supported_language=supported_language)

    def load(self) -> None:
        """Nothing to load."""

    @abstractmethod
    def spans(self, text: str) -> Iterator[Span]:
        """Yields the findings in a text."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[Any]:
        """Returns a result per finding; see Presidio's `EntityRecognizer.analyze`."""
        origin = {
            RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
            RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
        }
        return [
            RecognizerResult(
                entity_type=self.KIND, start=start, end=end, score=score, recognition_metadata=dict(origin)
            )
            for start, end, score in dict.fromkeys(self.spans(text))
        ]


def words(text: str) -> frozenset[str]:
    """Returns the words of a text: a list that is read as one."""
    return frozenset(text.split())
