"""The greedy parse of spaCy's `ner` component, for a whole batch of documents at once.

Output contract: `Parser(component).entities(docs)` yields, for every document, the (first token, last token, label) of
the entities that the component itself would set; `Parser.fits(component)` says for which components that holds. spaCy
moves token by token. But outside an entity its scores depend on the token alone, so those of all tokens are one matrix
product, and only the tokens that follow a beginning are gone through one by one, those of all documents together.
This module sets nothing on a document, and does not train.
Source: spaCy 3.8, `pipeline/_parser_internals/ner.pyx` (which moves are valid) and `ml/parser_model.pyx` (scores).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

FEATURES = 3  # of a state: the token, the first one of the open entity, the one before the token within an entity
NEVER = ("M", "U-")  # moves for gold annotation and for entities set beforehand
Entity = tuple[int, int, str]


class Parser:
    """The parser of one trained `ner` component."""

    def __init__(self, component: Any) -> None:
        model = component.model
        lower = model.get_ref("lower")
        names = [component.moves.get_class_name(number) for number in range(component.moves.n_moves)]
        self._embed = model.get_ref("tok2vec").predict
        self._kinds = np.array([name[:1] if name not in NEVER else "" for name in names])
        self._labels = [name[2:] for name in names]
        self._inner = np.array([names.index(f"I-{label}") if label else 0 for label in self._labels])
        self._last = np.array([names.index(f"L-{label}") if label else 0 for label in self._labels])
        weights = lower.get_param("W").swapaxes(1, 2)  # features x pieces x hidden x input: a maximum of whole rows
        self._weights = [part.reshape(-1, part.shape[-1]).T for part in weights]
        self._pads, self._bias = lower.get_param("pad")[0].swapaxes(1, 2), lower.get_param("b").T
        upper = model.get_ref("upper")
        self._upper = (upper.get_param("W").T, upper.get_param("b")) if model.attrs["has_upper"] else None

    @staticmethod
    def fits(component: Any) -> bool:
        """Whether this is a plain greedy `ner` of spaCy's, on the CPU, that was trained on all of its labels."""
        from spacy.pipeline import EntityRecognizer
        from thinc.api import NumpyOps

        return (
            type(component) is EntityRecognizer
            and component.cfg["beam_width"] == 1
            and not component.postprocesses
            and isinstance(component.model.ops, NumpyOps)
            and component.model.get_ref("lower").get_dim("nF") == FEATURES
            and not component.model.attrs["unseen_classes"]
        )

    def entities(self, docs: Sequence[Any]) -> Iterator[list[Entity]]:
        """Yields the entities of each document, in order; the documents have none set beforehand."""
        lengths = [len(doc) for doc in docs]
        if not sum(lengths):
            yield from ([] for _ in docs)
            return
        vectors = self._embed(docs)
        space, closing = _facts(docs, lengths)
        first = self._feature(0, vectors)
        choice = self._outside(first, space, closing)
        starts = np.flatnonzero(np.isin(self._kinds[choice], ("B", "U")))
        begins = self._kinds[choice[starts]] == "B"
        ends = starts.copy()
        ends[begins] = self._ends(first, vectors, closing, starts[begins], choice[starts[begins]])
        marks = list(zip(starts.tolist(), ends.tolist(), choice[starts].tolist(), strict=True))
        index = offset = 0
        for length in lengths:
            document: list[Entity] = []
            free = offset  # a beginning inside an entity is none
            offset += length
            while index < len(marks) and marks[index][0] < offset:
                start, end, move = marks[index]
                index += 1
                if start >= free:
                    document.append((start - offset + length, end - offset + length, self._labels[move]))
                    free = end + 1
            yield document

    def _feature(self, number: int, vectors: np.ndarray) -> np.ndarray:
        """Returns what tokens add to a state's hidden layer as its feature `number`: tokens x pieces x hidden."""
        added: np.ndarray = (vectors @ self._weights[number]).reshape(-1, *self._bias.shape)
        return added

    def _scores(self, first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
        """Returns the scores of every move in states of three features; the order of the sum is spaCy's."""
        pieces = first + second + third + self._bias
        hidden: np.ndarray = reduce(np.maximum, pieces.swapaxes(0, 1))
        return hidden if self._upper is None else hidden @ self._upper[0] + self._upper[1]

    def _outside(self, first: np.ndarray, space: np.ndarray, closing: np.ndarray) -> np.ndarray:
        """Returns the move that each token gets where no entity is open."""
        scores = self._scores(first, self._pads[1], self._pads[2])
        scores[:, ~np.isin(self._kinds, ("B", "U", "O"))] = -np.inf
        scores[np.ix_(space | closing, self._kinds == "B")] = -np.inf
        scores[np.ix_(space, self._kinds == "U")] = -np.inf
        choice: np.ndarray = scores.argmax(axis=1)  # of equal scores the first move's, as spaCy does
        return choice

    def _ends(
        self, first: np.ndarray, vectors: np.ndarray, closing: np.ndarray, starts: np.ndarray, moves: np.ndarray
    ) -> np.ndarray:
        """Returns the last token of each entity that begins at `starts` by `moves`."""
        ends, still = starts.copy(), np.arange(len(starts))
        inner, last = self._inner[moves], self._last[moves]
        opened = self._feature(1, vectors[starts])
        while len(still):
            ends[still] += 1
            end = ends[still]
            scores = self._scores(first[end], opened[still], self._feature(2, vectors[end - 1]))
            rows = np.arange(len(still))
            on, off = scores[rows, inner[still]], scores[rows, last[still]]
            goes_on = (on > off) | ((on == off) & (inner[still] < last[still]))
            still = still[goes_on & ~closing[end]]
        return ends


def _facts(docs: Sequence[Any], lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns two booleans per token: whether it is whitespace, and whether an entity must not go on after it."""
    facts = np.concatenate([doc.to_array(["IS_SPACE", "SENT_START"]).reshape(-1, 2) for doc in docs])
    closing = np.roll(facts[:, 1] == 1, -1)  # the next token begins a sentence
    ends = np.cumsum(lengths)
    closing[ends[ends > 0] - 1] = True
    return facts[:, 0] != 0, closing
