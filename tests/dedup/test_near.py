"""The near-duplicate recipe on a run folder, through Ray: guarantees, priorities, every layout the same."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.config import Dedup
from pipeline.dedup import bands, edges, index, near, shingles, verify
from pipeline.errors import IntegrityError, UserError
from pipeline.run import Run

pytestmark = pytest.mark.ray

SETTINGS = Dedup()
LONG = " ".join(f"word{number}" for number in range(40))


def deduplicate(
    folder: Path, tables: list[pa.Table], settings: Dedup = SETTINGS, earlier: Sequence[index.Index] = ()
) -> tuple[near.Duplicates, Run]:
    """Curates as the job does, as far as this stage goes."""
    run = Run.open(str(folder))
    parts = [f"stages/screen/{number:05d}.parquet" for number in range(len(tables))]
    for part, table in zip(parts, tables, strict=True):
        run.write_table(part, table)
    stage = run.begin("dedup", "key")
    found = near.deduplicate(run, stage, parts, settings, earlier)
    run.put(stage, "stages/dedup/decisions.parquet", found.decisions)
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
    longer = -len(row["response"])
    return (not row["resolved"], *((-created, longer) if row["resolved"] else (longer, -created)), row["id"])


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
    assert expected.report["capped"] == {"cap": 64, "buckets": 0, "rows": 0, "largest": 4}
    assert expected.report["identical"] > 10
    audit = expected.report["audit"]
    assert (audit["rows"], audit["recall"], audit["both_kept"]) == (200, 1.0, 0)
    assert audit["edges_checked"] == audit["edges_right"] == 50
    check_against_all_pairs(table, expected)
    manifest = run.manifest("dedup", "key")
    assert manifest is not None
    names = ["bands", "decisions.parquet", "edges", "index.json", "shingles"]
    assert sorted(path.split("/")[2] for path in manifest["outputs"]) == names
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
        (
            {"resolved": True, "response": "a", "created_at": datetime(2025, 1, 2, tzinfo=UTC)},
            {"resolved": True, "response": "a ...", "created_at": datetime(2025, 1, 1, tzinfo=UTC)},
        ),
        (
            {"resolved": True, "response": "a", "created_at": datetime(2025, 1, 1, tzinfo=UTC)},
            {"resolved": True, "response": "a ..."},
        ),
        ({"resolved": True, "response": "a ..."}, {"resolved": True, "response": "a", "id": "0"}),
        ({"response": "a", "created_at": datetime(2024, 1, 1, tzinfo=UTC)}, {"response": "a", "id": "0"}),
        ({"response": "a", "id": "0"}, {"response": "a", "id": "1"}),
    ],
)
def test_priority(ray_session: None, tmp_path: Path, make_working: Any, better: Any, worse: Any) -> None:
    table = make_working([{"id": "2", **worse, "prompt": LONG}, {"id": "3", **better, "prompt": LONG}])
    found, _ = deduplicate(tmp_path, [table])
    kept = found.decisions.filter(found.decisions["kept"])["id"].to_pylist()
    assert kept == [table["id"][1].as_py()]


MACRO = " ".join(f"step{number}" for number in range(150))
ASKED = [
    "Where is my parcel?",
    "How do I change the address of my account?",
    "How do I change the number of my account?",
    "The invoice of March has a wrong sum, can you look at it, please? I paid twice and got one receipt.",
]


def test_a_shared_macro_does_not_merge_different_questions(
    ray_session: None, tmp_path: Path, make_working: Any
) -> None:
    """150 words of 160 are the same in all of them; what was asked again is a duplicate all the same."""
    again = [ASKED[0].upper(), "Where is my parcel!", ASKED[3].replace("receipt", "bill")]
    rows = [{"id": f"{at}", "prompt": text, "response": MACRO} for at, text in enumerate([*ASKED, *again])]
    rows += [{"id": f"{at}", "prompt": f"Chapter {at}", "response": MACRO, "kind": "document"} for at in (7, 8)]
    table = make_working(rows)
    found, run = deduplicate(tmp_path / "one", [table])
    assert found.decisions["kept"].to_pylist() == [True] * 4 + [False, False, False, True, False]
    assert found.decisions["twin"].to_pylist()[4:] == ["0", "0", "3", None, "7"]
    assert found.report["other_question"] > 3
    audit = found.report["audit"]
    assert (audit["recall"], audit["both_kept"], audit["edges_right"]) == (1.0, 0, audit["edges_checked"])
    components, _ = deduplicate(tmp_path / "components", [table[:4], table[4:]], Dedup(mode="components"))
    assert components.decisions == found.decisions
    earlier, _ = deduplicate(tmp_path / "later", [make_working(rows[1:3])], earlier=[index.of_run(run, SETTINGS)])
    assert earlier.decisions["twin"].to_pylist() == ["1", "2"]
    assert set(earlier.decisions["twin_run"].to_pylist()) == {run.uri}


def test_only_unmarked_rows_take_part(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    marked = {"stage": "language", "reason": "language"}
    rows = [{"id": "1", "prompt": LONG, **marked}, {"id": "2", "prompt": LONG}, {"id": "2", "prompt": LONG, **marked}]
    found, _ = deduplicate(tmp_path, [make_working(rows), make_working([])])
    assert found.decisions.to_pylist() == [
        {"id": "2", "kept": True, "twin": None, "twin_run": None, "jaccard": None, "group": "2", "reason": None}
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
    monkeypatch.setattr(edges, "BLOCK", 700)
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


# -- components -------------------------------------------------------------------------------------------------------

CHAIN = ["a b c d e f g h i j k l", "a b c d e f g h i j k X", "Z b c d e f g h i j k X"]  # J 9/11, 9/11 and 8/12


def test_components_keep_one_of_a_chain(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    table = make_working([{"id": str(n), "prompt": text, "response": "." * (9 - n)} for n, text in enumerate(CHAIN)])
    table = pa.concat_tables([table, make_working([{"id": "3", "prompt": CHAIN[2].upper()}])])
    star, _ = deduplicate(tmp_path / "star", [table])
    assert star.decisions["kept"].to_pylist() == [True, False, True, False]
    assert star.decisions["twin"].to_pylist() == [None, "0", None, "2"]
    settings = Dedup(mode="components")
    found, run = deduplicate(tmp_path / "components", [table], settings)
    assert found.decisions["kept"].to_pylist() == [True, False, False, False]
    assert found.decisions["twin"].to_pylist() == [None, "0", "0", "0"]
    assert found.decisions["jaccard"].to_pylist() == [None, *(np.float32(v) for v in (9 / 11, 8 / 12, 8 / 12))]
    assert found.decisions["group"].to_pylist() == star.decisions["group"].to_pylist() == ["0"] * 4
    assert not run.exists("stages/dedup/links")
    assert not run.exists("stages/dedup/pairs")


def test_components_on_a_corpus(
    ray_session: None, tmp_path: Path, make_working: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row of every component is kept, the best; every other names it and their exact similarity."""
    table = make_working(corpus(2, 60))
    monkeypatch.setattr(edges, "BLOCK", 700)
    found, _ = deduplicate(tmp_path, [table[:50], table[50:]], Dedup(mode="components"))
    rows = {row["id"]: row for row in table.to_pylist()}
    groups: dict[str, list[dict[str, Any]]] = {}
    for decision in found.decisions.to_pylist():
        if decision["reason"] != "empty_text":
            groups.setdefault(decision["group"], []).append(decision)
    assert max(map(len, groups.values())) > 3
    for members in groups.values():
        best = min(members, key=lambda d: priority(rows[d["id"]]))
        assert [d["id"] for d in members if d["kept"]] == [best["id"]]
        for dropped in (d for d in members if not d["kept"]):
            texts = [f"{rows[i]['prompt']}\n{rows[i]['response']}" for i in (dropped["id"], best["id"])]
            sets = shingles.shingle(texts, 3)
            exact = verify.jaccard(sets, sets, np.array([0]), np.array([1]))[0]
            assert (dropped["twin"], dropped["jaccard"]) == (best["id"], np.float32(exact))


# -- buckets over the cap ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mode", ["star", "components"])
def test_the_cap_loses_nothing_where_a_buckets_rows_are_alike(
    ray_session: None, tmp_path: Path, make_working: Any, monkeypatch: pytest.MonkeyPatch, seed: int, mode: Any
) -> None:
    """Families of near-identical rows (one word of a hundred changed at most: any two at 0.88 or more), larger than the
    cap, hidden among other texts: every decision is that without a cap."""
    draw = random.Random(seed)
    rows = []
    for family in range(3):
        text = [f"f{family}w{number}" for number in range(100)]
        for member in range(draw.randint(15, 40)):
            at = draw.randrange(100)
            copy = [
                f"new{member}" if number == at and draw.random() < 0.8 else word for number, word in enumerate(text)
            ]
            rows.append(
                {"prompt": " ".join(copy), "response": "." * draw.randint(0, 5), "id": f"{draw.getrandbits(64):x}"}
            )
    others = [{**row, "id": f"{draw.getrandbits(64):x}"} for row in corpus(seed, 20)[:-2]]
    table = make_working(draw.sample(rows + others, len(rows) + len(others)))
    free, _ = deduplicate(tmp_path / "free", [table], Dedup(mode=mode))
    monkeypatch.setattr(bands, "CAP", 9)
    found, _ = deduplicate(tmp_path / "capped", [table], Dedup(mode=mode))
    assert found.report["capped"]["buckets"] > 42
    assert found.report["capped"]["rows"] > 40
    assert found.report["candidates"] < free.report["candidates"]
    assert found.decisions == free.decisions
    assert found.report["audit"]["both_kept"] == 0


def test_the_audit_tells_what_the_cap_lost(
    ray_session: None, tmp_path: Path, make_working: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs of near duplicates that share a long text with all others, but reach the threshold only in pairs."""
    shared = [f"s{number}" for number in range(100)]
    rows = []
    for pair in range(40):
        middle = [f"p{pair}w{number}" for number in range(40)]
        rows += [{"prompt": " ".join([*shared, *middle, end]), "id": f"{pair:03d}{end}"} for end in ("x", "y")]
    monkeypatch.setattr(bands, "CAP", 80)
    free, _ = deduplicate(tmp_path / "free", [make_working(rows)], Dedup())
    assert free.report["capped"]["buckets"] == 0
    assert free.report["audit"]["pairs"] == free.report["audit"]["found"] == 40
    assert int(np.asarray(free.decisions["kept"]).sum()) == 40
    monkeypatch.setattr(bands, "CAP", 2)
    found, _ = deduplicate(tmp_path / "capped", [make_working(rows)], Dedup(bands=2, rows=1))
    audit = found.report["audit"]
    assert (audit["rows"], audit["pairs"]) == (80, 40)
    assert 0 < audit["both_kept"] == audit["pairs"] - audit["found"]
    assert audit["interval"][0] < audit["recall"] == round(audit["found"] / 40, 6) < audit["interval"][1]
    assert int(np.asarray(found.decisions["kept"]).sum()) == 40 + audit["both_kept"]


# -- earlier rows -----------------------------------------------------------------------------------------------------


def edited(text: str, word: str = "other") -> str:
    """Returns the text with its last word changed: Jaccard 37/39 for LONG."""
    return " ".join([*text.split()[:-1], word])


def other(name: str) -> str:
    return " ".join(f"{name}{number}" for number in range(40))


def test_earlier_rows_win(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    first = make_working(
        [
            {"id": "b", "prompt": LONG, "resolved": False},
            {"id": "a", "prompt": edited(LONG)},  # smaller id, but the shorter answer: dropped there
            {"id": "c", "prompt": other("c")},
        ]
    ).set_column(5, "response", pa.array(["....", "", ""]))
    _, run = deduplicate(tmp_path / "first", [first[:1], first[1:]])
    earlier = index.of_run(run, SETTINGS)
    rows = [
        {"id": "1", "prompt": LONG, "resolved": True, "response": "......"},  # identical to b, and of better priority
        {"id": "2", "prompt": edited(LONG, "new"), "resolved": True},
        {"id": "3", "prompt": other("d")},
        {"id": "c", "prompt": other("c"), "resolved": True},  # the very row
        {"id": "5", "prompt": "?"},
    ]
    second = make_working(rows)
    found, run = deduplicate(tmp_path / "second", [second[:2], second[2:]], earlier=[earlier])
    near_edit = float(np.float32(37 / 39))
    name = earlier.name
    assert found.decisions.to_pylist() == [
        dropped("1", "b", name, 1.0, "a"),
        dropped("2", "b", name, near_edit, "a"),
        kept("3", "3"),
        {**kept("5", "5"), "kept": False, "reason": "empty_text"},
        dropped("c", "c", name, 1.0, "c"),
    ]
    assert (found.report["rows"], found.report["earlier"], found.report["empty"]) == (5, 2, 1)
    # a third run sees both: what the second run dropped counts for nothing
    third = make_working([{"id": "9", "prompt": edited(LONG, "new")}, {"id": "8", "prompt": other("d")}])
    both = [earlier, index.of_run(run, SETTINGS)]
    found, _ = deduplicate(tmp_path / "third", [third], earlier=both)
    assert found.decisions.to_pylist() == [
        dropped("8", "3", both[1].name, 1.0, "3"),
        dropped("9", "b", name, near_edit, "a"),
    ]


def kept(identity: str, group: str) -> dict[str, Any]:
    none = dict.fromkeys(("twin", "twin_run", "jaccard", "reason"))
    return {"id": identity, "kept": True, **none, "group": group}


def dropped(identity: str, twin: str, run: str | None, jaccard: float, group: str) -> dict[str, Any]:
    about = {"twin": twin, "twin_run": run, "jaccard": jaccard, "group": group}
    return {"id": identity, "kept": False, **about, "reason": "near_duplicate"}


def test_golden_rows_come_first(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    """A golden row outranks an earlier run's, is kept though it resembles one, and names the group of its component."""
    _, before = deduplicate(tmp_path / "before", [make_working([{"id": "e", "prompt": LONG, "resolved": True}])])
    golden = make_working([{"id": "g", "prompt": edited(LONG), "group": "frozen"}, {"id": "h", "prompt": other("h")}])
    run = Run.open(str(tmp_path / "run"))
    run.write_table("data/golden/part-00000.parquet", golden.select(schema.RECORD.names))
    earlier = [index.of_records(run, ["data/golden/part-00000.parquet"]), index.of_run(before, SETTINGS)]
    rows = [
        {"id": "1", "prompt": edited(LONG)},
        {"id": "2", "prompt": LONG},
        {"id": "3", "prompt": edited(LONG, "third")},
        {"id": "4", "prompt": f"{edited(LONG)} and six words more at end"},  # 38/44 with golden
        {"id": "5", "prompt": other("h")},
        {"id": "h", "prompt": other("h")},
    ]
    alike = float(np.float32(37 / 39))
    for mode in ("star", "components"):
        settings = Dedup(mode=mode)  # type: ignore[arg-type]
        found, run = deduplicate(tmp_path / "run", [make_working(rows)], settings, earlier)
        decisions = {decision["id"]: decision for decision in found.decisions.to_pylist()}
        assert decisions["1"] == dropped("1", "g", None, 1.0, "frozen")
        assert decisions["2"] == dropped("2", "e", before.uri, 1.0, "frozen")
        assert decisions["3"] == dropped("3", "g", None, alike, "frozen")
        assert decisions["4"] == dropped("4", "g", None, float(np.float32(38 / 44)), "frozen")
        assert decisions["5"] == dropped("5", "h", None, 1.0, "h")
        assert decisions["h"] == dropped("h", "h", None, 1.0, "h")
    manifest = run.manifest("dedup", "key")
    assert manifest is not None
    assert "stages/dedup/frozen-0/decisions.parquet" in manifest["outputs"]
    again = index.of_run(run, Dedup(mode="components"))
    assert [part.bands for part in again.parts] == ["stages/dedup/bands/00000.parquet"]  # golden rows are not its own


def test_every_layout_with_earlier_rows(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    table = make_working(corpus(5, 80))
    table = table.take(pa.array(np.random.default_rng(5).permutation(table.num_rows)))
    first, rest = table[:70], table[70:]
    _, one = deduplicate(tmp_path / "one", [first])
    _, many = deduplicate(tmp_path / "many", [first[at : at + 9] for at in range(0, 70, 9)])
    expected, _ = deduplicate(tmp_path / "a", [rest], earlier=[index.of_run(one, SETTINGS)])
    parts = [rest[:11], rest[11:]]
    found, _ = deduplicate(tmp_path / "b", parts, earlier=[index.of_run(many, SETTINGS)])
    assert expected.decisions["twin_run"].null_count < expected.decisions.num_rows
    both = [table.drop(["twin_run"]) for table in (found.decisions, expected.decisions)]
    assert both[0] == both[1]
    assert found.report == expected.report


def test_an_index_with_other_settings_is_refused(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    table = make_working([{"id": "1", "prompt": LONG}])
    _, run = deduplicate(tmp_path / "run", [table], Dedup(bands=12))
    with pytest.raises(UserError, match=r"bands 12 instead of 42\. Set the same `curate.dedup`"):
        index.of_run(run, SETTINGS)
    assert index.of_run(run, Dedup(bands=12, threshold=0.5, mode="components")).parts  # these mean nothing to hashes
    with pytest.raises(UserError, match="holds no finished curation"):
        index.of_run(Run.open(str(tmp_path / "empty")), SETTINGS)
    run.write_json("stages/dedup/index.json", [1])
    manifest = run.read_json("stages/dedup/_manifest.json")
    manifest["outputs"]["stages/dedup/index.json"] = run.size("stages/dedup/index.json")
    run.write_json("stages/dedup/_manifest.json", manifest)
    with pytest.raises(UserError, match=r"no readable stages/dedup/index\.json"):
        index.of_run(run, SETTINGS)


def test_fingerprints_follow_the_rows(ray_session: None, tmp_path: Path, make_working: Any) -> None:
    table = make_working([{"id": "1", "prompt": LONG}])
    _, run = deduplicate(tmp_path / "run", [table])
    before = index.of_run(run, SETTINGS).fingerprint
    assert index.of_run(run, SETTINGS).fingerprint == before
    stage = run.begin("dedup", "another key")
    found = near.deduplicate(run, stage, ["stages/screen/00000.parquet"], SETTINGS)
    run.put(stage, "stages/dedup/decisions.parquet", found.decisions)
    run.commit(stage, inputs=None, rows={})
    assert index.of_run(run, SETTINGS).fingerprint != before
    prints = set()
    for text, group in ((LONG, "a"), (LONG, None), ("other", "a"), (LONG, "a")):
        records = make_working([{"id": "1", "prompt": text, "group": group}]).select(schema.RECORD.names)
        run.write_table("data/golden/part-00000.parquet", records)
        prints.add(index.of_records(run, ["data/golden/part-00000.parquet"]).fingerprint)
    assert len(prints) == 3
