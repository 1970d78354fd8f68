"""The PII stage against Presidio's `AnalyzerEngine` with the same recognisers, one text at a time."""

from __future__ import annotations

from bench.curation.sample import LANGUAGES, seconds, tickets
from pipeline.config import Pii


def measure(quick: bool) -> dict[str, float | None]:
    """Returns `pii_x_stock`."""
    from pipeline.screen.entities import KnownEntities
    from pipeline.screen.pii import PiiStage, engine

    table = tickets(200 if quick else 2_000)
    stage = PiiStage(Pii(known_entities=False), LANGUAGES, KnownEntities.collect([]))
    stock = engine("en", None)
    texts = [text for name in ("prompt", "response") for text in table[name].to_pylist()]
    theirs = seconds(lambda: [stock.analyze(text, "en") for text in texts])
    return {"pii_x_stock": theirs / seconds(lambda: stage(table))}
