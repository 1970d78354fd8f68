"""The PII stage against Presidio's `AnalyzerEngine` with the same recognisers, one text at a time; recall by type.

Output contract: `pii_x_stock` on the bundled tickets, pattern recognisers alone; `pii_ner_x_stock` with the bundled NER
model too, null where it is not there. Both stop with an error where the findings are not those of the stock engine.
`python -m bench.curation.pii --recall` measures recall and precision by type on the `pii` set of SOLOTUNE_TEST_DATA and
writes `pipeline/screen/pii/recall.json`, whose figures every run's report states.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from bench.curation.sample import LANGUAGES, seconds, tickets
from pipeline.config import Pii, model_path
from pipeline.screen.pii.recall import BUNDLED, FILE

CLAIMED = ("EMAIL_ADDRESS", "IBAN_CODE", "CREDIT_CARD", "PHONE_NUMBER", "IP_ADDRESS")


def measure(quick: bool) -> dict[str, float | None]:
    """Returns `pii_x_stock` and `pii_ner_x_stock`."""
    bundled = model_path(BUNDLED)
    model = bundled if (Path(bundled) / "meta.json").is_file() else None
    patterns = Pii(known_entities=False, ner={})
    found = {"pii_x_stock": _ratio(patterns, 1_000 if quick else 2_000), "pii_ner_x_stock": None}
    if model:
        with_model = Pii(known_entities=False, ner=dict.fromkeys(LANGUAGES, model))
        found["pii_ner_x_stock"] = _ratio(with_model, 1_000)
    return found


def _ratio(settings: Pii, rows: int) -> float:
    """Returns seconds of the stock engine over seconds of the stage, after comparing what both find."""
    from pipeline.screen.pii.entities import KnownEntities
    from pipeline.screen.pii.fold import fold
    from pipeline.screen.pii.scrub import PiiStage, Scrubber, engine

    table = tickets(rows)
    stage, scrubber, stock = (
        PiiStage(settings, LANGUAGES, KnownEntities()),
        Scrubber(settings, LANGUAGES),
        engine(settings, LANGUAGES[0]),
    )
    texts = [fold(text).text for name in ("prompt", "response") for text in table[name].to_pylist()]

    def theirs() -> list[Any]:
        return [stock.analyze(text, LANGUAGES[0], score_threshold=settings.score_threshold) for text in texts]

    found = scrubber.find_all(texts, [LANGUAGES[0]] * len(texts))
    for at, results in enumerate(theirs()):
        if {(r.start, r.end, r.entity_type, r.score) for r in results} != {f[:4] for f in found.get(at, [])}:
            raise AssertionError(f"text {at} of the sample: findings differ from the stock engine's")
    return seconds(theirs) / seconds(lambda: stage(table))


def recall(path: Path, settings: Pii) -> dict[str, dict[str, float]]:
    """Returns type -> spans, recall (of spans covered whole, by any finding) and precision (of findings that touch a
    span of any type), for the types of the set that the recognisers claim."""
    from pipeline.screen.pii.scrub import Scrubber
    from pipeline.screen.pii.spans import merge

    rows = json.loads(path.read_text(encoding="utf-8"))
    found = Scrubber(settings, ("en",)).find_all([row["full_text"] for row in rows], ["en"] * len(rows))
    spans, covered, findings, right = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for at, row in enumerate(rows):
        merged = merge(found.get(at, []))
        true = [(span["start_position"], span["end_position"], span["entity_type"]) for span in row["spans"]]
        for start, end, kind in true:
            spans[kind] += 1
            covered[kind] += any(f.start <= start and end <= f.end for f in merged)
        for finding in merged:
            findings[finding.type] += 1
            right[finding.type] += any(finding.start < end and start < finding.end for start, end, _ in true)
    return {
        kind: {
            "spans": spans[kind],
            "recall": round(covered[kind] / spans[kind], 3),
            "precision": round(right[kind] / max(findings[kind], 1), 3),
        }
        for kind in ((*CLAIMED, "PERSON") if settings.ner else CLAIMED)
    }


def write_recall(folder: Path) -> None:
    """Writes the figures that a run's report states, `pipeline/screen/pii/recall.json`; `folder` holds `pii`."""
    path = folder / "pii" / "synth_dataset_v2.json"
    named = recall(path, Pii(ner={"en": model_path(BUNDLED)}))
    measured = {
        "set": "presidio-research, synthetic set v2",
        "texts": len(json.loads(path.read_text(encoding="utf-8"))),
        "patterns": recall(path, Pii(ner={})),
        BUNDLED: {"PERSON": named["PERSON"]},
    }
    FILE.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(measured, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description="Personal data found in SOLOTUNE_TEST_DATA, by type.")
    parser.add_argument("--recall", action="store_true", required=True, help="measure and write recall.json")
    parser.parse_args()
    write_recall(Path(os.environ["SOLOTUNE_TEST_DATA"]))


if __name__ == "__main__":
    main()
