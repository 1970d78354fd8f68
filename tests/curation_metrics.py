"""What a curation writes into `metrics/curate.json`, with every part that may be there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.config import Project
from pipeline.curation import data_card
from pipeline.curation.counts import Counts
from pipeline.read import InputFile


def input_file(source: str, path: str) -> InputFile:
    return InputFile(source, "csv", f"/home/anna/{path}", path, 1234, "0123456789abcdef" * 2, "utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "weights").write_bytes(b"w")
    curate = {"toxicity": {"model": str(tmp_path / "my-model")}, "licences": {"wiki*": "CC-BY-4.0"}}
    return Project.model_validate({"name": "acme", "base_model": "o/m", "curate": curate})


@pytest.fixture
def metrics(make_working: Any, project: Project) -> dict[str, Any]:
    judged = {"lang": "en", "lang_score": 0.99, "toxicity": 0.1, "response": "yes"}
    rows = [{"prompt": f"row {n}", "label": f"<label {n}>", "pii": ["PERSON"], **judged} for n in range(20)]
    for n in range(8):
        rows[n] |= {"characters": 90 + n, "removed": [{"kind": "quote", "characters": 80 + n}]}
    rows[8] |= {"characters": 30, "removed": [{"kind": "markup", "characters": -7}]}
    kept = make_working([*rows, {"prompt": "page", "source": "wiki", **judged}])
    lost = make_working([{"prompt": "bonjour", "lang": "fr", "lang_score": 0.2}])
    counts = Counts()
    counts.add_kept(kept, pa.array(["train"] * 20 + ["golden"]))
    counts.add_rejected(schema.mark(lost, np.array([True]), "language", "language", [0.2], 0.95))
    metrics = counts.metrics({"tickets": 21, "wiki": 1})
    metrics["dedup"] = {"rows": 21, "earlier": 7, "identical": 1, "candidates": 9, "edges": 3}
    metrics["dedup"]["capped"] = {"cap": 64, "buckets": 2, "rows": 190, "largest": 100}
    audit = {"rows": 20, "pairs": 4, "found": 3, "recall": 0.75, "interval": [0.301, 0.954], "both_kept": 1}
    metrics["dedup"]["audit"] = {**audit, "edges_checked": 3, "edges_right": 3}
    metrics["toxicity"] = {"texts": 44, "scored": 5, "dropped": 1, "audited": 4, "audit_found": 0}
    metrics["toxicity"] |= {"missed_at_most": 2.0, "screen": {"layers": 2, "cut": 0.1}}
    metrics["toxicity"] |= {"recall": 0.9951, "recall_interval": [0.99, 0.999]}
    person = {"findings": 3, "rows": 2, "rows_per_1000": 100.0, "first_ids": ["c0ffee" * 5, "decade" * 5]}
    metrics["leaks"] = {"rows": 20, "rows_with_findings": 2, "types": {"PERSON": person}}
    metrics["split"] = {"pooled": {"": 1, "<small>": 2}, "large_groups": {"groups": 1, "rows": 9, "largest": 9}}
    metrics["split"] |= {"frozen": {"ids": 4, "present": 1, "with_their_group": 2}, "carried": 3}
    metrics["left_out"] = [{"why": "XML: export CSV instead", "files": 5, "examples": ["a|1.xml", "b.xml"]}]
    files = [input_file("tickets", "tickets|2.csv"), input_file("wiki", "wiki.csv")]
    return {**metrics, "provenance": data_card.provenance(project, files)}
