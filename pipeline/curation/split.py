"""Which rows train, which validate, which stay golden: stratified by label, near-duplicate groups whole.

Output contract: `assign` is a pure function of ids, groups, labels, seed and the frozen ids, blind to the order of the
rows. A group lies in one split. Within a stratum val and golden get their share to within one row, as far as whole
groups allow; over all strata the shares add up. A label with too few rows to give one to val and to golden joins the
stratum of all such labels, which trains if it is too small as well. `report` says what came of it.
Across runs: a frozen row is golden as long as it is in the dump, and draws its group with it. One that is no longer in
the dump takes up no share: the rows of a new dump give their own golden share, whatever earlier dumps gave. A group's
position in the draw depends on its name and the seed alone, so a dump that grows moves few rows between splits.
Memory: about 100 bytes per row. This module reads and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import config

SPLITS = pa.array(["train", "val", "golden"])
TRAIN, VAL, GOLDEN = range(3)
CHUNK = 1 << 16  # names that are Python strings at a time


@dataclass(frozen=True)
class _Groups:
    """Rows that must stay together, in the order in which they are drawn."""

    of_row: np.ndarray  # (rows,) the row's group
    sizes: np.ndarray  # (groups,) rows
    label: np.ndarray  # (groups,) position in `labels` of the one most of its rows have; of several the first
    frozen: np.ndarray  # (groups,) holds a frozen row
    labels: list[str | None]  # in the order of the alphabet, None last


@dataclass(frozen=True)
class _Stratum:
    """Labels that are divided together: which groups, in the order of the draw, and how many rows of it are wanted."""

    labels: np.ndarray
    groups: np.ndarray
    golden: int
    val: int


def assign(
    table: pa.Table, settings: config.Split, seed: int, frozen: Set[str], frozen_groups: Set[str] = frozenset()
) -> pa.Array:
    """Returns "train", "val" or "golden" for every row of `table` (columns id, group, label), in its order.

    A null group is a row by itself; a null label is a label of its own. Rows whose id is `frozen` are golden, and so is
    their whole group; they count towards the golden share, which later runs may exceed but never take back.
    `frozen_groups` names groups that are golden although their frozen row is not in `table`, having been dropped as a
    near duplicate of one that is.
    """
    groups = _groups(table, seed, frozen, frozen_groups)
    split = np.where(groups.frozen, GOLDEN, TRAIN).astype(np.int8)
    for stratum in _strata(groups, settings):
        _fill(stratum.groups, groups.sizes, split, GOLDEN, stratum.golden)
        _fill(stratum.groups, groups.sizes, split, VAL, stratum.val)
    return SPLITS.take(pa.array(split[groups.of_row]))


def report(
    table: pa.Table,
    split: pa.Array,
    settings: config.Split,
    frozen: Set[str] = frozenset(),
    frozen_groups: Set[str] = frozenset(),
) -> dict[str, Any]:
    """Returns what `split`, the answer of `assign` to the same table and settings, came to.

    `strata`: labels divided by themselves, each with its rows and its distance in rows from the val and golden shares.
    `pooled`: labels too small for that, with their rows; `pool`: what they gave together. `large_groups`: groups that
    no split but train has room for. `frozen`: ids given, those in the table, and the rows golden for their sake alone.
    """
    groups = _groups(table, 0, frozen, frozen_groups)
    chosen = np.asarray(pc.index_in(split, value_set=SPLITS))
    labels = _codes(table, groups.labels)
    counts = np.zeros((len(SPLITS), len(groups.labels)), dtype=np.int64)
    np.add.at(counts, (chosen, labels), 1)
    total = counts.sum(axis=0)
    strata = _strata(groups, settings)
    alone = {int(stratum.labels[0]) for stratum in strata if len(stratum.labels) == 1}
    pooled = [code for code in range(len(total)) if code not in alone]
    shares = {"val": (VAL, settings.val), "golden": (GOLDEN, settings.golden)}

    def off(code: int) -> dict[str, float]:
        away = {name: float(counts[row, code] - total[code] * share) for name, (row, share) in shares.items()}
        return {"rows": int(total[code]), **{name: round(rows, 2) for name, rows in away.items()}}

    room = np.zeros(len(groups.labels), dtype=np.int64)  # by label: the largest group that val or golden could take
    for stratum in strata:
        room[stratum.labels] = max(2 * max(stratum.golden, stratum.val) - 1, 0)
    large = groups.sizes[(groups.sizes > np.maximum(room[groups.label], 1)) & ~groups.frozen]
    present = int(pc.sum(_is_in(table["id"], frozen)).as_py() or 0)
    return {
        "rows": table.num_rows,
        "groups": len(groups.sizes),
        "strata": {_name(groups.labels[code]): off(code) for code in sorted(alone)},
        "pooled": {_name(groups.labels[code]): int(total[code]) for code in pooled},
        "pool": {name.as_py(): int(counts[row, pooled].sum()) for row, name in enumerate(SPLITS)},
        "large_groups": {"groups": len(large), "rows": int(large.sum()), "largest": int(large.max(initial=0))},
        "frozen": {
            "ids": len(frozen),
            "present": present,
            "with_their_group": int(groups.sizes[groups.frozen].sum()) - present,
        },
    }


def _name(label: str | None) -> str:
    return "" if label is None else label  # as in the counts of a curation


# -- groups -----------------------------------------------------------------------------------------------------------


def _is_in(values: pa.ChunkedArray | pa.Array, names: Set[str]) -> pa.Array:
    return pc.is_in(values, value_set=pa.array(sorted(names), pa.string()))


def _groups(table: pa.Table, seed: int, frozen: Set[str], frozen_groups: Set[str]) -> _Groups:
    names = pc.coalesce(table["group"], table["id"]).cast(pa.string()).combine_chunks().dictionary_encode()
    code, names = np.asarray(names.indices), names.dictionary
    order = _order(names, seed)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    of_row = rank[code]
    is_frozen = np.zeros(len(order), dtype=bool)
    is_frozen[of_row[np.asarray(_is_in(table["id"], frozen))]] = True
    is_frozen[rank[np.asarray(_is_in(names, frozen_groups))]] = True
    labels = sorted(table["label"].drop_null().unique().to_pylist())
    labels += [None] if table["label"].null_count else []
    label = _majority(of_row, _codes(table, labels), len(order))
    return _Groups(of_row, np.bincount(of_row, minlength=len(order)), label, is_frozen, labels)


def _order(names: pa.Array, seed: int) -> np.ndarray:
    """Returns the positions of `names` in the seeded order: by BLAKE2b-64 of seed and name, equal ones by name."""
    draws = bytearray()
    for start in range(0, len(names), CHUNK):
        for name in names.slice(start, CHUNK).to_pylist():
            draws += hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    draw = pa.array(np.frombuffer(draws, dtype=">u8").astype(np.uint64))
    keys = [("draw", "ascending"), ("name", "ascending")]
    return np.asarray(pc.sort_indices(pa.table({"draw": draw, "name": names}), keys))


def _codes(table: pa.Table, labels: list[str | None]) -> np.ndarray:
    """Returns the position in `labels` of every row's label."""
    names = pa.array(labels[:-1] if labels[-1:] == [None] else labels, pa.string())
    positions = pc.fill_null(pc.index_in(table["label"].cast(pa.string()), value_set=names), len(names))
    return np.asarray(positions, dtype=np.int64)


def _majority(of_row: np.ndarray, code: np.ndarray, groups: int) -> np.ndarray:
    """Returns for every group the most frequent code of its rows, of several the smallest."""
    width = max(1, int(code.max(initial=0)) + 1)
    pairs = np.sort(of_row * np.int64(width) + code)
    new = np.ones(len(pairs), dtype=bool)
    new[1:] = pairs[1:] != pairs[:-1]
    starts = np.flatnonzero(new)
    counts = np.diff(starts, append=len(pairs))
    group, code = np.divmod(pairs[starts], width)
    best = np.lexsort((code, -counts, group))
    first = np.searchsorted(group[best], np.arange(groups))
    return np.asarray(code[best][first])


# -- strata -----------------------------------------------------------------------------------------------------------


def _strata(groups: _Groups, settings: config.Split) -> list[_Stratum]:
    """Returns the strata: each label that is large enough, in the order of the alphabet, then the pool of the others.
    A pool that is too small is none, and trains."""
    shares = [share for share in (settings.golden, settings.val) if share > 0]
    rows = np.bincount(groups.label, weights=groups.sizes, minlength=len(groups.labels)).astype(np.int64)

    def large(size: np.ndarray) -> np.ndarray:
        return np.asarray(np.all([size * share >= 1 for share in shares] or [size > 0], axis=0))

    enough = large(rows)
    members = [np.array([code]) for code in np.flatnonzero(enough)]
    rest = np.flatnonzero(~enough & (rows > 0))
    if large(rows[rest].sum()) and len(rest):
        members.append(rest)
    by_label = np.argsort(groups.label, kind="stable")
    edges = np.searchsorted(groups.label[by_label], np.arange(len(groups.labels) + 1))
    drawn = [np.sort(np.concatenate([by_label[edges[c] : edges[c + 1]] for c in codes])) for codes in members]
    # Rounding the running total, not each share, keeps every stratum within one row and the sum as well.
    ends = np.cumsum([rows[codes].sum() for codes in members])
    golden, val = (np.diff(np.floor(ends * share + 0.5), prepend=0) for share in (settings.golden, settings.val))
    return [_Stratum(codes, drawn[n], int(golden[n]), int(val[n])) for n, codes in enumerate(members)]


def _fill(stratum: np.ndarray, sizes: np.ndarray, split: np.ndarray, name: int, wanted: int) -> None:
    """Gives undecided groups to split `name` until it has the `wanted` rows: first those that fit, then one that
    overshoots by less than what is missing."""
    missing = wanted - int(sizes[stratum[split[stratum] == name]].sum())
    for slack in (1, 2):
        if missing <= 0:
            return
        free = stratum[split[stratum] == TRAIN]
        free = free[sizes[free] <= slack * missing]
        for group, size in zip(free.tolist(), sizes[free].tolist(), strict=True):
            if size <= missing if slack == 1 else size < slack * missing:
                split[group] = name
                missing -= size
                if missing <= 0:
                    break
