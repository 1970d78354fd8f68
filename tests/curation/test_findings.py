"""What the report says of the toxicity pass: every text only where every text was scored."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.curation import findings


def test_every_text_scored_is_one_sentence() -> None:
    said = findings.toxicity({"texts": 44, "scored": 44, "screen": None})
    assert said == ["The toxicity model scored every text: 44."]


@pytest.mark.parametrize(
    ("layers", "where"), [(0, "on its word embeddings"), (1, "after 1 layer of it"), (2, "after 2 layers of it")]
)
def test_texts_that_left_early_are_told_with_the_audit(layers: int, where: str) -> None:
    part: dict[str, Any] = {"texts": 44, "scored": 5, "audited": 4, "missed_at_most": 2.0, "screen": {"layers": layers}}
    said = " ".join(findings.toxicity({**part, "recall": 0.9951, "recall_interval": [0.99, 0.999]}))
    assert f"scored 5 of 44 texts; the others were passed {where}, by a screen fitted in this run" in said
    assert "by an audit of 4 rows that the screen had passed; at most 2 toxic rows are left" in said
    assert "every text" not in said
