"""The split: shares per stratum, whole groups, frozen golden rows, no dependence on row order."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from itertools import accumulate, pairwise
from math import floor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Split
from pipeline.curation.split import assign, report

SETTINGS = Split()


def rows(labels: dict[str | None, int], prefix: str = "") -> pa.Table:
    ids, label = [], []
    for name, count in labels.items():
        ids += [f"{prefix}{name}-{number}" for number in range(count)]
        label += [name] * count
    return pa.table({"id": ids, "group": ids, "label": pa.array(label, pa.string())})


def split(table: pa.Table, seed: int = 0, frozen: Any = (), settings: Split = SETTINGS) -> dict[str, str]:
    found = assign(table, settings, seed, frozenset(frozen))
    assert len(found) == table.num_rows
    return dict(zip(table["id"].to_pylist(), found.to_pylist(), strict=True))


def count(table: pa.Table, found: dict[str, str], label: str | None) -> Counter[str]:
    return Counter(
        found[i] for i, own in zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True) if own == label
    )


def test_shares_hold_in_every_stratum_and_in_sum() -> None:
    sizes: dict[str | None, int] = {None: 250, "a": 1000, "b": 29, "c": 29, "d": 29, "e": 20, "null": 77}
    table = rows(sizes)
    found = split(table)
    for label, size in sizes.items():
        counted = count(table, found, label)
        assert abs(counted["val"] - size * 0.05) <= 1
        assert abs(counted["golden"] - size * 0.05) <= 1
        assert counted["val"] >= 1
        assert counted["golden"] >= 1
    total = Counter(found.values())
    assert abs(total["val"] - table.num_rows * 0.05) <= 1
    assert abs(total["golden"] - table.num_rows * 0.05) <= 1


def test_small_labels_are_pooled() -> None:
    table = rows({"big": 100, **{f"small{number}": 5 for number in range(12)}})
    found = split(table)
    small = Counter(name for identity, name in found.items() if identity.startswith("small"))
    assert small == {"train": 54, "val": 3, "golden": 3}


def test_a_pool_that_is_too_small_trains() -> None:
    found = split(rows({"big": 100, "one": 5, "two": 9}))
    assert {name for identity, name in found.items() if not identity.startswith("big")} == {"train"}


def test_groups_never_straddle() -> None:
    table = rows({"a": 400, "b": 200})
    generator = np.random.default_rng(0)
    group = [f"g{number}" for number in generator.integers(0, 250, table.num_rows)]
    table = table.set_column(1, "group", pa.array(group))
    found = split(table)
    by_group: dict[str, set[str]] = {}
    for name, identity in zip(group, table["id"].to_pylist(), strict=True):
        by_group.setdefault(name, set()).add(found[identity])
    assert all(len(splits) == 1 for splits in by_group.values())
    total = Counter(found.values())
    assert abs(total["val"] - 30) <= 2  # a group of mixed labels counts for the label most of its rows have
    assert abs(total["golden"] - 30) <= 2


def test_a_large_group_does_not_flood_a_split() -> None:
    table = rows({"a": 200})
    group = ["flood"] * 120 + table["id"].to_pylist()[120:]
    found = split(table.set_column(1, "group", pa.array(group)))
    assert Counter(found.values()) == {"train": 180, "val": 10, "golden": 10}
    assert found["a-0"] == "train"


def test_null_group_is_a_row_by_itself() -> None:
    table = rows({"a": 100})
    assert split(table.set_column(1, "group", pa.nulls(100, pa.string()))) == split(table)


def test_row_order_does_not_matter_but_the_seed_does() -> None:
    table = rows({"a": 300, None: 100, "c": 7})
    order = pa.array(np.random.default_rng(0).permutation(table.num_rows))
    assert split(table.take(order)) == split(table)
    assert split(table, seed=1) != split(table)
    assert Counter(split(table, seed=1).values()) == Counter(split(table).values())


def test_frozen_rows_stay_golden_with_their_group() -> None:
    table = rows({"a": 200})
    golden = [identity for identity, name in split(table).items() if name == "golden"]
    trained = next(identity for identity, name in split(table).items() if name == "train")
    more = rows({"a": 400})
    mate = more["id"].to_pylist()[399]
    group = [golden[0] if identity == mate else identity for identity in more["id"].to_pylist()]
    found = split(more.set_column(1, "group", pa.array(group)), seed=5, frozen=[*golden, trained, "gone"])
    assert {found[identity] for identity in [*golden, trained, mate]} == {"golden"}
    assert Counter(found.values()) == {"train": 360, "val": 20, "golden": 20}


def test_more_frozen_rows_than_the_share() -> None:
    table = rows({"a": 100, "tiny": 2})
    found = split(table, frozen=[f"a-{number}" for number in range(30)] + ["tiny-0"])
    assert Counter(found.values()) == {"train": 66, "val": 5, "golden": 31}


def test_a_group_whose_frozen_row_was_dropped_is_golden_as_well() -> None:
    """The twin that outranked a golden row would otherwise train on what the golden row asks."""
    table = rows({"a": 200})
    named = [identity for identity, name in split(table).items() if name == "train"][:2]
    found = assign(table, SETTINGS, 0, frozenset({"dropped"}), frozenset(named))
    chosen = dict(zip(table["id"].to_pylist(), found.to_pylist(), strict=True))
    assert {chosen[identity] for identity in named} == {"golden"}
    assert Counter(found.to_pylist()) == {"train": 180, "val": 10, "golden": 10}


def test_golden_rows_outlive_a_smaller_and_another_dump() -> None:
    """They stay golden where they are; a dump without them gives its own share."""
    first = rows({"a": 400})
    golden = {identity for identity, name in split(first).items() if name == "golden"}
    half = first.filter(pa.array([number % 2 == 0 for number in range(400)]))
    found = split(half, frozen=golden)
    assert {i for i in half["id"].to_pylist() if i in golden} <= {i for i, name in found.items() if name == "golden"}
    other = rows({"b": 100})
    assert Counter(split(other, frozen=golden).values()) == Counter(split(other).values())


def test_a_dump_that_grows_moves_few_rows_between_train_and_val() -> None:
    before = split(rows({"a": 1000}))
    golden = {identity for identity, name in before.items() if name == "golden"}
    after = split(rows({"a": 1100}), frozen=golden)
    moved = [identity for identity, name in before.items() if name != "golden" and after[identity] == "val" != name]
    assert len(moved) <= 10  # the val share of the 100 new rows, and those whose place new golden rows took


def test_report() -> None:
    table = rows({"a": 200, "b": 100, None: 4, "tiny": 3})
    group = ["flood"] * 120 + table["id"].to_pylist()[120:]
    table = table.set_column(1, "group", pa.array(group))
    frozen = frozenset({"b-0", "tiny-2", "gone"})
    found = assign(table, SETTINGS, 3, frozen)
    told = report(table, found, SETTINGS, frozen)
    assert (told["rows"], told["groups"]) == (307, 188)
    assert told["strata"] == {
        "a": {"rows": 200, "val": 0.0, "golden": 0.0},
        "b": {"rows": 100, "val": 0.0, "golden": 0.0},
    }
    assert told["pooled"] == {"tiny": 3, "": 4}
    assert told["pool"] == {"train": 6, "val": 0, "golden": 1}
    assert told["large_groups"] == {"groups": 1, "rows": 120, "largest": 120}
    assert told["frozen"] == {"ids": 3, "present": 2, "with_their_group": 0}


def test_report_counts_what_a_frozen_row_takes_with_it() -> None:
    table = rows({"a": 50})
    table = table.set_column(1, "group", pa.array(["same"] * 20 + table["id"].to_pylist()[20:]))
    frozen = frozenset({"a-3"})
    told = report(table, assign(table, SETTINGS, 0, frozen), SETTINGS, frozen)
    assert told["frozen"] == {"ids": 1, "present": 1, "with_their_group": 19}
    assert told["strata"]["a"]["golden"] == 17.5
    assert told["large_groups"]["groups"] == 0


def plainly(table: pa.Table, settings: Split, seed: int, frozen: frozenset[str]) -> list[str]:
    """The same split without arrays: a list of rows per group, one group after the other."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault(row["id"] if row["group"] is None else row["group"], []).append(row)

    def draw(name: str) -> tuple[bytes, str]:
        return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest(), name

    def label(name: str) -> tuple[bool, str]:
        counts = Counter((row["label"] is None, row["label"] or "") for row in groups[name])
        return min(counts, key=lambda one: (-counts[one], one))

    names = sorted(groups, key=draw)
    chosen = {name: "golden" for name in names if any(row["id"] in frozen for row in groups[name])}
    by_label: dict[tuple[bool, str], list[str]] = {}
    for name in names:
        by_label.setdefault(label(name), []).append(name)

    def size(some: list[str]) -> int:
        return sum(len(groups[name]) for name in some)

    def large(some: list[str]) -> bool:
        return all(size(some) * share >= 1 for share in (settings.val, settings.golden) if share)

    strata = [by_label[one] for one in sorted(by_label) if large(by_label[one])]
    pool = [name for name in names if not large(by_label[label(name)])]
    strata += [pool] if pool and large(pool) else []
    ends = [0, *accumulate(size(stratum) for stratum in strata)]
    for stratum, (start, end) in zip(strata, pairwise(ends), strict=True):
        for split_name, share in (("golden", settings.golden), ("val", settings.val)):
            wanted = floor(end * share + 0.5) - floor(start * share + 0.5)
            missing = wanted - size([name for name in stratum if chosen.get(name) == split_name])
            for fits in (lambda n, m: n <= m, lambda n, m: n < 2 * m):
                for name in stratum:
                    if name not in chosen and fits(len(groups[name]), missing):
                        chosen[name] = split_name
                        missing -= len(groups[name])
    keys = (row["id"] if row["group"] is None else row["group"] for row in table.to_pylist())
    return [chosen.get(key, "train") for key in keys]


def test_equals_the_plain_way_on_random_tables() -> None:
    for seed in range(150):
        dice = random.Random(seed)
        ids = [f"{dice.getrandbits(64):016x}" for _ in range(dice.choice([0, 1, 7, 60, 300]))]
        names = [f"g{number}" for number in range(dice.choice([1, 20, 400]))]
        group = [None if dice.random() < 0.2 else dice.choice([*names, *ids[:9]]) for _ in ids]
        label = [dice.choice([None, "null", "é", "a", "a", "a", *"bcdefgh"[: seed % 8]]) for _ in ids]
        columns = {"id": ids, "group": group, "label": label}
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        settings = Split(val=dice.choice([0, 0.05, 0.3]), golden=dice.choice([0, 0.05, 0.33]))
        frozen = frozenset([*dice.sample(ids, min(len(ids), dice.choice([0, 2, 40]))), "gone"])
        assert assign(table, settings, seed, frozen).to_pylist() == plainly(table, settings, seed, frozen)


def test_a_share_of_nothing_and_no_rows() -> None:
    found = split(rows({"a": 100, "b": 9}), settings=Split(val=0, golden=0.1))
    assert Counter(found.values()) == {"train": 99, "golden": 10}
    assert split(rows({"a": 1})) == {"a-0": "train"}
    empty = rows({"a": 0}).cast(pa.schema([(name, pa.string()) for name in ("id", "group", "label")]))
    assert split(empty) == {}


def test_shares_must_leave_rows_to_train() -> None:
    with pytest.raises(ValueError, match="less than 1"):
        Split(val=0.5, golden=0.5)
