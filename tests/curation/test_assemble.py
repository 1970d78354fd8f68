"""The end of a curation: parts grouped into shards, decisions written into rows, frozen rows that are found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.curation import assemble, golden_rows
from pipeline.dedup.index import DECISIONS
from pipeline.run import Run

TWIN = {"kept": False, "twin": "b", "twin_run": "/earlier", "jaccard": 0.9, "reason": "near_duplicate"}
KEPT = dict.fromkeys(("twin", "twin_run", "jaccard", "reason")) | {"kept": True}


def decisions(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=DECISIONS)


def test_a_shard_is_of_whole_parts_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(str(tmp_path))
    for name, rows in (("a", 4), ("b", 6), ("c", 1), ("d", 25), ("e", 2)):
        run.write_table(f"{name}.parquet", pa.table({"id": list(range(rows))}))
    monkeypatch.setattr(assemble, "SHARD_ROWS", 10)
    parts = [f"{name}.parquet" for name in "abcde"]
    groups = assemble._groups(run, parts)
    assert groups == [parts[:2], parts[2:3], parts[3:4], parts[4:]]  # d alone is larger than a shard
    assert assemble._groups(run, []) == []


def test_decisions_reach_unmarked_rows_alone(make_working: Any) -> None:
    table = make_working([{"prompt": name} for name in "wxyz"])
    stage = pa.array([None, None, None, "language"])
    table = table.set_column(table.schema.get_field_index("stage"), table.schema.field("stage"), stage)
    fates = [TWIN, KEPT, {**KEPT, "kept": False, "reason": "empty_text"}, TWIN]
    found = decisions(*({"id": f"{number}", "group": f"g{number}", **fate} for number, fate in enumerate(fates)))
    rows = assemble.apply_decisions(table, found, 0.8).to_pylist()
    assert [row["stage"] for row in rows] == ["dedup", None, "dedup", "language"]
    assert [row["reason"] for row in rows[:3]] == ["near_duplicate", None, "empty_text"]
    assert [row["group"] for row in rows] == ["g0", "g1", "g2", None]
    assert [row["twin"] for row in rows[:3]] == ["b", None, None]
    assert rows[0]["twin_run"] == "/earlier"
    assert (rows[0]["score"], rows[0]["threshold"]) == (pytest.approx(0.9), pytest.approx(0.8))


def test_a_frozen_row_that_repeats_itself_is_kept_and_one_that_repeats_another_is_not() -> None:
    own, other = {**TWIN, "twin": "a"}, {**TWIN, "twin": "a"}
    found = decisions(
        {"id": "a", "group": "g", **own}, {"id": "c", "group": "g", **other}, {"id": "d", "group": "d", **KEPT}
    )
    rows = golden_rows.found_again(found, pa.chunked_array([["a", "c"]])).to_pylist()
    assert [row["kept"] for row in rows] == [True, False, True]
    assert rows[0] == {"id": "a", "group": "g", **KEPT}
    assert rows[1] == found.to_pylist()[1]
