"""The near-duplicate recipe on a run folder, through Ray: guarantees, priorities, every layout the same."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.config import Dedup
from pipeline.dedup import bands, near, shingles, verify
from pipeline.errors import IntegrityError
from pipeline.run import Run

pytestmark = pytest.mark.ray

SETTINGS = Dedup()
LONG = " ".join(f"word{number}" for number in range(40))


def deduplicate(folder: Path, tables: list[pa.Table], settings: Dedup = SETTINGS) -> tuple[near.Duplicates, Run]:
    run = Run.open(str(folder))
    parts = [f"stages/screen/{number:05d}.parquet" for number in range(len(tables))]
    for part, table in zip(parts, tables, strict=True):
        run.write_table(part, table)
    stage = run.begin("dedup", "key")
    found = near.deduplicate(run, stage, parts, settings)
    run.commit(stage, inputs=None, rows={})
    return found, run


def corpus(seed: int, families: int) -> list[dict[str, Any]]:
    """Families of texts that differ in a few words, some identical but for case, some without a single word."""
    draw = random.Random(seed)
    words = [f"w{number}" for number in range(600)]
    rows = []
    for family in range(families):
        text = draw.choices(words, k=draw.randint(1, 60))
        for member in range(draw.choice([1, 1, 2, 4])):
            copy = [word if draw.random() > 0.015 else draw.choice(words) for word in text]
            prompt = " ".join(copy).upper() if draw.random() < 0.2 else " ".join(copy)
            rows.append(
                {
                    "prompt": prompt,
                    "response": "." * draw.randint(1, 3) + " " * member,
                    "id": f"{draw.getrandbits(128):032x}",
                    "resolved": draw.choice([True, False, None]),
                    "created_at": draw.choice([None, datetime(2024, 1, 1 + family % 28, tzinfo=UTC)]),
                }
            )
    return [*rows, {"prompt": "!", "response": "?"}, {"prompt": "—", "response": "…"}]


def priority(row: dict[str, Any]) -> tuple[Any, ...]:
    created = row["created_at"].timestamp() if row["created_at"] else -1e18
    return (not row["resolved"], -len(row["response"]), -created, row["id"])


def test_guarantees_and_every_layout(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    table = make_working(corpus(0, 150))
    expected, run = deduplicate(tmp_path / "one", [table])
    for count in (2, 7):
        order = np.random.default_rng(count).permutation(table.num_rows)
        shuffled = table.take(pa.array(order))
        cuts = [table.num_rows * at // count for at in range(count + 1)]
        parts = [shuffled[a:b] for a, b in itertools.pairwise(cuts)]
        found, _ = deduplicate(tmp_path / str(count), parts)
        assert found == expected
    assert expected.decisions.schema == near.DECISIONS
    assert expected.capped == 0
    assert expected.identical > 10
    check_against_all_pairs(table, expected)
    manifest = run.manifest("dedup", "key")
    assert manifest is not None
    assert sorted(path.split("/")[2] for path in manifest["outputs"]) == ["bands", "edges", "shingles"]
    assert not run.exists("stages/dedup/pairs")


def check_against_all_pairs(table: pa.Table, found: near.Duplicates) -> None:
    """Every decision follows from the exact similarity of all pairs."""
    rows = {row["id"]: row for row in table.to_pylist()}
    decisions = found.decisions.to_pylist()
    assert [decision["id"] for decision in decisions] == sorted(rows)
    sets = shingles.shingle([f"{rows[d['id']]['prompt']}\n{rows[d['id']]['response']}" for d in decisions], 3)
    worded = np.flatnonzero(sets.sizes)
    a, b = (worded[side] for side in np.triu_indices(len(worded), 1))
    jaccard = verify.jaccard(sets, sets, a, b)
    near_pairs = {(i, j): v for i, j, v in zip(a, b, jaccard, strict=True) if v >= 0.8}
    near_pairs |= {(j, i): v for (i, j), v in near_pairs.items()}
    ids = [decision["id"] for decision in decisions]
    for i, decision in enumerate(decisions):
        twins = [j for j in range(len(ids)) if (i, j) in near_pairs and decisions[j]["kept"]]
        if decision["reason"] == "empty_text":
            assert not sets.sizes[i]
        elif decision["kept"]:
            assert not twins
            assert decision["twin"] is None
        else:
            best = min(twins, key=lambda j, i=i: (-near_pairs[i, j], priority(rows[ids[j]])))  # type: ignore[misc]
            assert decision["twin"] == ids[best]
            assert decision["jaccard"] == np.float32(near_pairs[i, best])
            assert any(priority(rows[ids[j]]) < priority(rows[ids[i]]) for j in twins)
    assert {decisions[i]["group"] == decisions[j]["group"] for i, j in near_pairs} == {True}
    groups = {decision["group"] for decision in decisions}
    assert all(min(d["id"] for d in decisions if d["group"] == group) == group for group in groups)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"resolved": True, "response": "a"}, {"resolved": None, "response": "a" + "." * 30}),
        ({"response": "a ..."}, {"response": "a", "created_at": datetime(2025, 1, 1, tzinfo=UTC)}),
        ({"response": "a", "created_at": datetime(2024, 1, 1, tzinfo=UTC)}, {"response": "a", "id": "0"}),
        ({"response": "a", "id": "0"}, {"response": "a", "id": "1"}),
    ],
)
def test_priority(ray_session: None, tmp_path: Path, make_working: Any, better: Any, worse: Any) -> None:
    table = make_working([{"id": "2", **worse, "prompt": LONG}, {"id": "3", **better, "prompt": LONG}])
    found, _ = deduplicate(tmp_path, [table])
    kept = found.decisions.filter(found.decisions["kept"])["id"].to_pylist()
    assert kept == [table["id"][1].as_py()]


def test_only_unmarked_rows_take_part(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    marked = {"stage": "language", "reason": "language"}
    rows = [{"id": "1", "prompt": LONG, **marked}, {"id": "2", "prompt": LONG}, {"id": "2", "prompt": LONG, **marked}]
    found, _ = deduplicate(tmp_path, [make_working(rows), make_working([])])
    assert found.decisions.to_pylist() == [
        {"id": "2", "kept": True, "twin": None, "jaccard": None, "group": "2", "reason": None}
    ]


def test_no_rows_and_no_parts(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    for tables in ([], [make_working([])]):
        found, _ = deduplicate(tmp_path / str(len(tables)), tables)
        assert found.decisions == near.DECISIONS.empty_table()


def test_empty_text_is_its_own_reason(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    rows = [{"id": "1", "prompt": "?!", "response": ""}, {"id": "2", "prompt": "…", "response": "--"}]
    found, _ = deduplicate(tmp_path, [make_working(rows)])
    assert found.decisions["reason"].to_pylist() == ["empty_text", "empty_text"]
    assert found.decisions["group"].to_pylist() == ["1", "2"]
    assert found.decisions["twin"].null_count == found.decisions["jaccard"].null_count == 2


def test_an_id_twice_is_refused(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    with pytest.raises(IntegrityError, match="id same: exact duplicates"):
        deduplicate(tmp_path, [make_working([{"id": "same", "prompt": "a"}]), make_working([{"id": "same"}])])


def test_blocks_change_nothing(
    ray_session: None, tmp_path: Path, make_working: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make_working(corpus(1, 40))
    tables = [table[at : at + 10] for at in range(0, table.num_rows, 10)]
    expected, _ = deduplicate(tmp_path / "one", tables)
    monkeypatch.setattr(near, "BLOCK", 700)
    found, run = deduplicate(tmp_path / "many", tables)
    assert len(run.list("stages/dedup/edges")) > 2
    assert found == expected


def test_row_of_the_band_table(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    settings = Dedup(bands=3, rows=2)
    _, run = deduplicate(tmp_path, [make_working([{"id": "1", "prompt": LONG, "response": "an answer"}])], settings)
    (row,) = run.read_table("stages/dedup/bands/00000.parquet").to_pylist()
    sets = shingles.shingle([f"{LONG}\nan answer"], 3)
    keys = bands.keys(bands.signatures(sets, bands.permutations(6)), 3)
    assert [row[f"band_{band:02d}"] for band in range(3)] == keys[:, 0].tolist()
    assert (row["id"], row["length"], row["size"]) == ("1", 9, 40)
    assert schema.WORKING.names != list(row)
