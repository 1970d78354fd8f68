"""Which rows train, which validate, which stay golden: stratified by label, near-duplicate groups whole.

Output contract: a pure function of ids, groups, labels, seed and the frozen ids, blind to the order of the rows. A
group lies in one split. Within a stratum val and golden get their share to within one row, as far as whole groups
allow; over all strata the shares add up. A label with too few rows to give one to val and to golden joins the stratum
of all such labels, which trains if it is too small as well. This module reads and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline import config


@dataclass(slots=True)
class _Group:
    """Rows that must stay together; `draw` is its place in the seeded order."""

    draw: bytes
    rows: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    split: str = ""  # not yet decided

    @property
    def label(self) -> str:
        """The label most of its rows have; of several the first in the alphabet."""
        counts = Counter(self.labels)
        return min(counts, key=lambda label: (-counts[label], label))


def assign(table: pa.Table, settings: config.Split, seed: int, frozen: frozenset[str]) -> pa.Array:
    """Returns "train", "val" or "golden" for every row of `table` (columns id, group, label), in its order.

    A null group is a row by itself; a null label is a label of its own. Rows whose id is `frozen` are golden, and so is
    their whole group; they count towards the golden share, which later runs may exceed but never take back.
    """
    groups = _groups(table, seed, frozen)
    for stratum, golden, val in _strata(groups, settings):
        _fill(stratum, "golden", golden)
        _fill(stratum, "val", val)
    result = np.full(table.num_rows, "train", dtype=object)
    for group in groups:
        if group.split:
            result[group.rows] = group.split
    return pa.array(result, pa.string())


def _groups(table: pa.Table, seed: int, frozen: frozenset[str]) -> list[_Group]:
    """Returns the groups in the order in which they are drawn."""
    groups: dict[str, _Group] = {}
    columns = (table[name].to_pylist() for name in ("id", "group", "label"))
    for row, (identity, name, label) in enumerate(zip(*columns, strict=True)):
        name = identity if name is None else name
        group = groups.get(name)
        if group is None:
            draw = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
            group = groups[name] = _Group(draw)
        group.rows.append(row)
        group.labels.append("null" if label is None else f"label {label}")
        if identity in frozen:
            group.split = "golden"
    return [group for _, group in sorted(groups.items(), key=lambda item: (item[1].draw, item[0]))]


def _strata(groups: list[_Group], settings: config.Split) -> list[tuple[list[_Group], int, int]]:
    """Returns (groups, golden rows wanted, val rows wanted) of every stratum."""
    by_label: dict[str, list[_Group]] = {}
    for group in groups:
        by_label.setdefault(group.label, []).append(group)
    shares = [share for share in (settings.golden, settings.val) if share > 0]

    def large(stratum: list[_Group]) -> bool:
        return all(_size(stratum) * share >= 1 for share in shares)

    strata = [by_label[label] for label in sorted(by_label) if large(by_label[label])]
    rest = {label for label in by_label if not large(by_label[label])}
    pool = [group for group in groups if group.label in rest]
    if pool and large(pool):
        strata.append(pool)
    # Rounding the running total, not each share, keeps every stratum within one row and the sum as well.
    ends = np.cumsum([_size(stratum) for stratum in strata])
    golden, val = (np.diff(np.floor(ends * share + 0.5), prepend=0) for share in (settings.golden, settings.val))
    return [(stratum, int(golden[n]), int(val[n])) for n, stratum in enumerate(strata)]


def _size(groups: list[_Group]) -> int:
    return sum(len(group.rows) for group in groups)


def _fill(stratum: list[_Group], split: str, wanted: int) -> None:
    """Gives undecided groups to `split` until it has the `wanted` rows: first those that fit, then one that overshoots
    by less than what is missing."""
    missing = wanted - _size([group for group in stratum if group.split == split])
    for slack in (1, 2):
        for group in stratum:
            size = len(group.rows)
            if not group.split and (size <= missing if slack == 1 else size < slack * missing):
                group.split = split
                missing -= size
