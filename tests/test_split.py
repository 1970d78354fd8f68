"""The split: shares per stratum, whole groups, frozen golden rows, no dependence on row order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Split
from pipeline.split import assign

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


def test_a_share_of_nothing_and_no_rows() -> None:
    found = split(rows({"a": 100, "b": 9}), settings=Split(val=0, golden=0.1))
    assert Counter(found.values()) == {"train": 99, "golden": 10}
    assert split(rows({"a": 1})) == {"a-0": "train"}
    empty = rows({"a": 0}).cast(pa.schema([(name, pa.string()) for name in ("id", "group", "label")]))
    assert split(empty) == {}


def test_shares_must_leave_rows_to_train() -> None:
    with pytest.raises(ValueError, match="less than 1"):
        Split(val=0.5, golden=0.5)
