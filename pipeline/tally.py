"""The counts of a curation: what a report shows and what must reconcile.

Output contract: a `Tally` adds up over any partition of the rows, in any order, to the same `metrics()`; `check` raises
`IntegrityError` unless read = kept + rejected for every source. Lengths are in words.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import IntegrityError

WORD_EDGES = (0, 5, 10, 20, 40, 80, 160, 320, 640, 1280)  # the last bin is open
COUNTERS = ("kept", "rejected", "splits", "languages", "pii")
SPLITS = ("train", "val", "golden")
STAGES = ("read", "exact", "language", "toxicity", "dedup")  # those that reject, in order


def _words(texts: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts))))


@dataclass
class Tally:
    """Counters over rows. Tallies of parts add up to the tally of the whole."""

    kept: Counter[str] = field(default_factory=Counter)  # source
    rejected: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # source, stage, reason
    splits: Counter[tuple[str, str]] = field(default_factory=Counter)  # split, label
    languages: Counter[str] = field(default_factory=Counter)
    pii: Counter[str] = field(default_factory=Counter)  # findings by type
    lengths: dict[str, np.ndarray] = field(default_factory=dict)  # prompt | response -> counts per bin

    def add_kept(self, table: pa.Table, splits: pa.Array) -> None:
        """Counts kept WORKING rows and the split each went to."""
        self.kept.update(table["source"].to_pylist())
        labels = ("" if label is None else label for label in table["label"].to_pylist())
        self.splits.update(zip(splits.to_pylist(), labels, strict=True))
        self.languages.update(lang or "unknown" for lang in table["lang"].to_pylist())
        self.pii.update(pc.list_flatten(table["pii"]).to_pylist())
        for name in ("prompt", "response"):
            counts = np.histogram(_words(table[name]), bins=[*WORD_EDGES, np.inf])[0]
            self.lengths[name] = self.lengths.get(name, np.zeros(len(WORD_EDGES), int)) + counts

    def add_rejected(self, table: pa.Table) -> None:
        """Counts marked rows."""
        columns = (table[name].to_pylist() for name in ("source", "stage", "reason"))
        self.rejected.update(zip(*columns, strict=True))

    def merge(self, other: Tally) -> None:
        for name in COUNTERS:
            getattr(self, name).update(getattr(other, name))
        for name, counts in other.lengths.items():
            self.lengths[name] = self.lengths.get(name, np.zeros(len(WORD_EDGES), int)) + counts

    def to_json(self) -> str:
        """Returns the tally as text, for the way from a Ray actor to the driver."""
        pairs = {name: list(getattr(self, name).items()) for name in COUNTERS}
        return json.dumps({**pairs, "lengths": {name: counts.tolist() for name, counts in self.lengths.items()}})

    @classmethod
    def from_json(cls, text: str) -> Tally:
        value = json.loads(text)
        tally = cls(lengths={name: np.array(counts) for name, counts in value.pop("lengths").items()})
        for name, pairs in value.items():
            getattr(tally, name).update({tuple(key) if isinstance(key, list) else key: n for key, n in pairs})
        return tally

    def check(self, read: Mapping[str, int]) -> None:
        """Raises `IntegrityError` unless, for every source, the rows read are the rows kept plus the rows rejected."""
        rejected: Counter[str] = Counter()
        for (source, _, _), count in self.rejected.items():
            rejected[source] += count
        for source in sorted({*read, *self.kept, *rejected}):
            found = self.kept[source] + rejected[source]
            if found != read.get(source, 0):
                message = f"source {source}: {read.get(source, 0)} rows read, {self.kept[source]} kept"
                raise IntegrityError(f"{message}, {rejected[source]} rejected: rows were lost or doubled; report this")

    def metrics(self, read: Mapping[str, int]) -> dict[str, Any]:
        """Returns the content of `metrics/curate.json`; the same rows give the same value, byte for byte."""
        reasons: dict[str, dict[str, int]] = {source: {} for source in read}
        for (source, _, reason), count in sorted(self.rejected.items()):
            reasons[source][reason] = reasons[source].get(reason, 0) + count
        left = sum(read.values())
        funnel = [{"stage": "rows read", "rows": left}]
        for stage in STAGES:
            left -= sum(count for (_, name, _), count in self.rejected.items() if name == stage)
            funnel.append({"stage": stage, "rows": left})
        labels: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
        for (split, label), count in sorted(self.splits.items()):
            labels[split][label] = count
        return {
            "sources": {
                source: {"read": rows, "kept": self.kept[source], "rejected": reasons[source]}
                for source, rows in sorted(read.items())
            },
            "splits": {split: sum(labels[split].values()) for split in SPLITS},
            "funnel": funnel,
            "languages": dict(sorted(self.languages.items())),
            "pii": dict(sorted(self.pii.items())),
            "labels": labels,
            "lengths": {
                name: {"edges": list(WORD_EDGES), "counts": counts.tolist()}
                for name, counts in sorted(self.lengths.items())
            },
        }
