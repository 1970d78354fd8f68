"""The greedy parse of spaCy's `ner` component, for a whole batch of documents at once.

Output contract: `Parser(component).entities(docs)` yields the (first token, last token, label) of each document's
entities, equal to those that the component sets; `Parser.fits(component)` tells for which components this holds, and
none fits on an unsupported release of spaCy or thinc. spaCy moves token by token. But outside an entity the scores of
its moves depend on the token alone, so those of all tokens are one matrix product, and only the tokens after an
entity's first are visited one by one, in all documents at the same time.
This module sets nothing on a document and does not train.
Source: spaCy 3.8, `pipeline/_parser_internals/ner.pyx` (valid moves) and `ml/parser_model.pyx` (scores).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from pipeline.compat.versions import supported

FEATURES = 3  # of a state: the token, the first one of the open entity, the one before the token within an entity
UNUSED_MOVES = ("M", "U-")  # for gold annotation and for entities set beforehand
Entity = tuple[int, int, str]


class Parser:
    """The parser of one trained `ner` component."""

    def __init__(self, component: Any) -> None:
        model = component.model
        lower = model.get_ref("lower")
        names = [component.moves.get_class_name(number) for number in range(component.moves.n_moves)]
        self._embed = model.get_ref("tok2vec").predict
        self._actions = np.array([name[:1] if name not in UNUSED_MOVES else "" for name in names])
        self._labels = [name[2:] for name in names]
        self._inner = np.array([names.index(f"I-{label}") if label else 0 for label in self._labels])
        self._last = np.array([names.index(f"L-{label}") if label else 0 for label in self._labels])
        weights = lower.get_param("W").swapaxes(1, 2)  # (features, pieces, hidden, input): a maximum of rows
        self._weights = [matrix.reshape(-1, matrix.shape[-1]).T for matrix in weights]
        self._pads, self._bias = lower.get_param("pad")[0].swapaxes(1, 2), lower.get_param("b").T
        upper = model.get_ref("upper")
        self._upper = (upper.get_param("W").T, upper.get_param("b")) if model.attrs["has_upper"] else None

    @staticmethod
    def fits(component: Any) -> bool:
        """Whether this is a plain greedy `ner` of a supported spaCy, on the CPU, trained on all of its labels."""
        from spacy.pipeline import EntityRecognizer
        from thinc.api import NumpyOps

        return (
            supported("spacy", "thinc")
            and type(component) is EntityRecognizer
            and component.cfg["beam_width"] == 1
            and not component.postprocesses
            and isinstance(component.model.ops, NumpyOps)
            and component.model.get_ref("lower").get_dim("nF") == FEATURES
            and not component.model.attrs["unseen_classes"]
        )

    def entities(self, docs: Sequence[Any]) -> Iterator[list[Entity]]:
        """Yields the entities of each document, in order. No document may have entities yet."""
        lengths = [len(doc) for doc in docs]
        if not sum(lengths):
            yield from ([] for _ in docs)
            return
        vectors = self._embed(docs)
        space, closing = _boundaries(docs, lengths)
        first = self._feature(0, vectors)
        moves = self._outside(first, space, closing)
        starts = np.flatnonzero(np.isin(self._actions[moves], ("B", "U")))
        begins = self._actions[moves[starts]] == "B"
        ends = starts.copy()
        ends[begins] = self._ends(first, vectors, closing, starts[begins], moves[starts[begins]])
        spans = list(zip(starts.tolist(), ends.tolist(), moves[starts].tolist(), strict=True))
        index = offset = 0
        for length in lengths:
            entities: list[Entity] = []
            free = offset  # the first token after the last entity: a beginning inside an entity is none
            stop = offset + length
            while index < len(spans) and spans[index][0] < stop:
                start, end, move = spans[index]
                index += 1
                if start >= free:
                    entities.append((start - offset, end - offset, self._labels[move]))
                    free = end + 1
            offset = stop
            yield entities

    def _feature(self, number: int, vectors: np.ndarray) -> np.ndarray:
        """Returns the summand of feature `number` in a state's hidden layer, float32 (tokens, pieces, hidden)."""
        summand: np.ndarray = (vectors @ self._weights[number]).reshape(-1, *self._bias.shape)
        return summand

    def _scores(self, first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
        """Returns the moves' scores, float32 (states, moves), from three features; the order of the sum is spaCy's."""
        pieces = first + second + third + self._bias
        hidden: np.ndarray = reduce(np.maximum, pieces.swapaxes(0, 1))
        return hidden if self._upper is None else hidden @ self._upper[0] + self._upper[1]

    def _outside(self, first: np.ndarray, space: np.ndarray, closing: np.ndarray) -> np.ndarray:
        """Returns the best move of each token outside an entity, int64 (tokens,)."""
        scores = self._scores(first, self._pads[1], self._pads[2])
        scores[:, ~np.isin(self._actions, ("B", "U", "O"))] = -np.inf
        scores[np.ix_(space | closing, self._actions == "B")] = -np.inf
        scores[np.ix_(space, self._actions == "U")] = -np.inf
        moves: np.ndarray = scores.argmax(axis=1)  # of equal scores the first move's, as spaCy does
        return moves

    def _ends(
        self, first: np.ndarray, vectors: np.ndarray, closing: np.ndarray, starts: np.ndarray, moves: np.ndarray
    ) -> np.ndarray:
        """Returns the last token of the entities that begin at `starts` by `moves`, int64 (entities,)."""
        ends, active = starts.copy(), np.arange(len(starts))
        inner, last = self._inner[moves], self._last[moves]
        opened = self._feature(1, vectors[starts])
        while len(active):
            ends[active] += 1
            end = ends[active]
            scores = self._scores(first[end], opened[active], self._feature(2, vectors[end - 1]))
            rows = np.arange(len(active))
            inside, final = scores[rows, inner[active]], scores[rows, last[active]]
            goes_on = (inside > final) | ((inside == final) & (inner[active] < last[active]))
            active = active[goes_on & ~closing[end]]
        return ends


def _boundaries(docs: Sequence[Any], lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns two bool (tokens,): the token is whitespace; an entity must not go on after the token."""
    attributes = np.concatenate([doc.to_array(["IS_SPACE", "SENT_START"]).reshape(-1, 2) for doc in docs])
    closing = np.roll(attributes[:, 1] == 1, -1)  # the next token begins a sentence
    ends = np.cumsum(lengths)
    closing[ends[ends > 0] - 1] = True
    return attributes[:, 0] != 0, closing
