"""Row stages: quality, language, personal data, toxicity. Each marks rows or rewrites their text; none drops a row.

Output contract: `build` returns those of curation's first pass in order; toxicity has a pass of its own. Importing this
package is light; the models load when the stages are built, once per Ray actor.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.batch import RowStage
    from pipeline.config import Curate
    from pipeline.screen.pii.entities import KnownEntities


def build(
    curate: Curate, known: KnownEntities, key: bytes | None = None, shared: pa.Table | None = None
) -> list[RowStage]:
    """Returns new quality, language and PII stages; raises `MissingModelError` where a model is not there.

    `key`: for pseudonyms and hashes, see `pseudonyms.key_of`. `shared`: the result of `shared_answers` for the whole
    input; without it the rule `shared_answer` is not run.
    """
    from pipeline.screen.language import LanguageStage
    from pipeline.screen.pii.scrub import PiiStage
    from pipeline.screen.quality.rules import QualityStage
    from pipeline.screen.quality.shared_answers import SharedAnswerStage

    limit = curate.quality.shared_answer
    with light(curate):
        return [
            QualityStage(curate.quality),  # first: it is the cheapest, and later stages skip the rows it rejects
            *([] if shared is None or limit is None else [SharedAnswerStage(shared, limit)]),
            LanguageStage(curate.language, curate.languages),
            PiiStage(curate.pii, curate.languages, known, key),
        ]


def light(curate: Curate) -> AbstractContextManager[None]:
    """Returns a context that hides torch and transformers, unless an NER model of the PII stage is a transformer."""
    from pipeline.hide_imports import without
    from pipeline.screen.pii.ner import needs_torch

    return without(*() if any(map(needs_torch, curate.pii.ner.values())) else ("torch", "transformers"))
