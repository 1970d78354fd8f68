"""The PII stage against Presidio's `AnalyzerEngine` with the same recognisers, one text at a time; recall by type.

Output contract: `pii_x_stock` on the bundled tickets, pattern recognisers alone; `pii_ner_x_stock` with the bundled NER
model too, null where it is not there. Both stop with an error where the findings are not those of the stock engine.
With SOLOTUNE_TEST_DATA set, a table of recall and precision by type on its `pii` set goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench.curation.sample import LANGUAGES, seconds, tickets
from pipeline.config import Pii, model_path

CLAIMED = ("EMAIL_ADDRESS", "IBAN_CODE", "CREDIT_CARD", "PHONE_NUMBER", "IP_ADDRESS")


def measure(quick: bool) -> dict[str, float | None]:
    """Returns `pii_x_stock` and `pii_ner_x_stock`."""
    bundled = model_path("ner-small")
    model = bundled if (Path(bundled) / "meta.json").is_file() else None
    found = {"pii_x_stock": _ratio(Pii(known_entities=False), 200 if quick else 2_000), "pii_ner_x_stock": None}
    if model:
        with_model = Pii(known_entities=False, ner=dict.fromkeys(LANGUAGES, model))
        found["pii_ner_x_stock"] = _ratio(with_model, 100 if quick else 1_000)
    if folder := os.environ.get("SOLOTUNE_TEST_DATA"):
        _print_recall(Path(folder) / "pii" / "synth_dataset_v2.json", Pii(ner={"en": model} if model else {}))
    return found


def _ratio(settings: Pii, rows: int) -> float:
    """Returns seconds of the stock engine over seconds of the stage, after comparing what both find."""
    from pipeline.screen.entities import KnownEntities
    from pipeline.screen.pii import PiiStage, Scrubber, engine

    table = tickets(rows)
    stage, scrubber, stock = (
        PiiStage(settings, LANGUAGES, KnownEntities()),
        Scrubber(settings, LANGUAGES),
        engine(settings, LANGUAGES[0]),
    )
    texts = [text for name in ("prompt", "response") for text in table[name].to_pylist()]

    def theirs() -> list[Any]:
        return [stock.analyze(text, LANGUAGES[0], score_threshold=settings.score_threshold) for text in texts]

    found = scrubber.find_all(texts, [LANGUAGES[0]] * len(texts))
    for at, results in enumerate(theirs()):
        if {(r.start, r.end, r.entity_type, r.score) for r in results} != {f[:4] for f in found.get(at, [])}:
            raise AssertionError(f"text {at} of the sample: findings differ from the stock engine's")
    return seconds(theirs) / seconds(lambda: stage(table))


def _print_recall(path: Path, settings: Pii) -> None:
    """Recall: spans that are covered whole, by any finding; precision: findings that touch a span of any type."""
    from pipeline.screen.pii import Scrubber
    from pipeline.screen.spans import merge

    rows = json.loads(path.read_text(encoding="utf-8"))
    found = Scrubber(settings, ("en",)).find_all([row["full_text"] for row in rows], ["en"] * len(rows))
    spans, covered, findings, right = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    kinds = (*CLAIMED, "PERSON") if settings.ner else CLAIMED
    for at, row in enumerate(rows):
        merged = merge(found.get(at, []))
        true = [(span["start_position"], span["end_position"], span["entity_type"]) for span in row["spans"]]
        for start, end, kind in true:
            if kind in kinds:
                spans[kind] += 1
                covered[kind] += any(f.start <= start and end <= f.end for f in merged)
        for finding in merged:
            findings[finding.type] += 1
            right[finding.type] += any(finding.start < end and start < finding.end for start, end, _ in true)
    print("type            spans  recall  findings  precision", file=sys.stderr)
    for kind in sorted({*spans, *findings}):
        recall = f"{covered[kind] / spans[kind]:.3f}" if spans[kind] else "-"
        precision = f"{right[kind] / findings[kind]:.3f}" if findings[kind] else "-"
        print(f"{kind:<15}{spans[kind]:>6}{recall:>8}{findings[kind]:>10}{precision:>11}", file=sys.stderr)
