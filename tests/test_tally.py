"""Counts that add up, or an error."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.errors import IntegrityError
from pipeline.tally import Tally


@pytest.fixture
def tally(make_working: Any) -> Tally:
    kept = make_working(
        [{"prompt": "one two", "lang": "en", "label": "a", "pii": ["PERSON"]}, {"prompt": "x", "lang": "de"}]
    )
    rejected = schema.mark(make_working([{"prompt": ""}]), np.array([True]), "read", "empty_prompt")
    tally = Tally()
    tally.add_kept(kept, pa.array(["train", "val"]))
    tally.add_rejected(rejected)
    return tally


def test_reconciles(tally: Tally) -> None:
    tally.check({"tickets": 3})
    metrics = tally.metrics({"tickets": 3, "empty": 0})
    assert metrics["sources"]["tickets"] == {"read": 3, "kept": 2, "rejected": {"empty_prompt": 1}}
    assert metrics["sources"]["empty"] == {"read": 0, "kept": 0, "rejected": {}}
    assert metrics["splits"] == {"train": 1, "val": 1, "golden": 0}
    assert metrics["funnel"][-1] == {"stage": "dedup", "rows": 2}
    assert sum(metrics["lengths"]["prompt"]["counts"]) == 2


@pytest.mark.parametrize("read", [{"tickets": 4}, {"tickets": 2}, {}])
def test_a_lost_or_doubled_row_is_an_error(tally: Tally, read: dict[str, int]) -> None:
    with pytest.raises(IntegrityError, match="source tickets"):
        tally.check(read)


def test_parts_add_up_and_travel_as_json(tally: Tally) -> None:
    copy = Tally.from_json(json.loads(json.dumps(tally.to_json())))
    assert copy.metrics({"tickets": 3}) == tally.metrics({"tickets": 3})
    copy.merge(tally)
    copy.check({"tickets": 6})
