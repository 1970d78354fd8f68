"""Duplicates among rows of several exchanges: every turn counts, in the run's rows and in earlier ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import schema
from pipeline.config import Dedup
from pipeline.dedup import exact, index, near
from pipeline.dedup.audit import texts_of
from pipeline.run import Run

ASKED = " ".join(f"asked{number}" for number in range(20))
ANSWER = " ".join(f"answer{number}" for number in range(20))
LATER = [" ".join(f"later{number}" for number in range(20)), " ".join(f"done{number}" for number in range(20))]
OTHER = [" ".join(f"other{number}" for number in range(20)), " ".join(f"more{number}" for number in range(20))]


def row(**more: Any) -> dict[str, Any]:
    return {"prompt": ASKED, "response": ANSWER, **more}


def test_rows_that_begin_alike_and_go_on_differently_have_other_content(tmp_path: Path, make_working: Any) -> None:
    table = make_working([row(), row(later=LATER), row(later=OTHER), row(later=LATER), row(later=[*LATER, *OTHER])])
    run = Run.open(str(tmp_path))
    run.write_table("part.parquet", table)
    marked = exact.ExactStage(exact.winners(run, ["part.parquet"]))(table)
    assert marked["reason"].to_pylist() == [None, None, None, "exact_duplicate", None]


def test_all_turns_are_compared(make_working: Any) -> None:
    table = make_working([{"prompt": "a", "response": "b"}, {"prompt": "a", "response": None, "later": ["c", "d"]}])
    assert texts_of(table) == ["a\nb", "a\n\nc\nd"]
    assert texts_of(table.slice(1)) == ["a\n\nc\nd"]
    assert texts_of(table.slice(0, 0)) == []


@pytest.mark.ray
def test_near_duplicates_are_found_over_all_turns(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    near_later = [LATER[0], LATER[1].replace("done7", "finished")]
    rows = [row(later=LATER, id="1"), row(later=near_later, id="2"), row(later=OTHER, id="3"), row(id="4")]
    run = Run.open(str(tmp_path / "run"))
    run.write_table("part.parquet", make_working(rows))
    found = near.deduplicate(run, run.begin("dedup", "key"), ["part.parquet"], Dedup())
    kept = {decision["id"]: decision["kept"] for decision in found.decisions.to_pylist()}
    assert kept["3"]
    assert kept["4"]
    assert sorted((kept["1"], kept["2"])) == [False, True]
    assert found.report["audit"]["edges_right"] == found.report["audit"]["edges_checked"] == 1


@pytest.mark.ray
def test_golden_rows_of_an_earlier_version_are_compared_too(
    ray_session: None, tmp_path: Path, make_working: Any
) -> None:
    old = Run.open(str(tmp_path / "old"))
    golden = make_working([row(id="9", group="9")]).select(schema.RECORD.names)
    old.write_table("data/golden/part-00000.parquet", golden.drop_columns(["later"]))
    run = Run.open(str(tmp_path / "run"))
    run.write_table("part.parquet", make_working([row(id="1"), row(id="2", later=OTHER)]))
    earlier = index.of_records(old, ["data/golden/part-00000.parquet"], "old")
    found = near.deduplicate(run, run.begin("dedup", "key"), ["part.parquet"], Dedup(), [earlier])
    assert [(each["id"], each["twin"]) for each in found.decisions.to_pylist()] == [("1", "9"), ("2", None)]
