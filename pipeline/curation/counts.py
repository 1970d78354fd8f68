"""The counts of a curation: what a report shows and what must reconcile.

Output contract: the `Counts` of the parts of any partition of the rows add up, in any order, to the same `metrics()`;
`check` raises `IntegrityError` unless read = kept + rejected for every source. Lengths are in words: runs of characters
between ASCII white space. A histogram states the lower edge of each bin, the last of which is open.
Columns are counted by Arrow, not row by row; text is read to measure its length and for nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.errors import IntegrityError

WORD_EDGES = (0, 5, 10, 20, 40, 80, 160, 320, 640, 1280)
SCORE_EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # finest where thresholds lie
LENGTHS = ("prompt", "response")  # what the customer says, what the agent says
SCORES = ("lang_score", "toxicity")
SPLITS = ("train", "val", "golden")
STAGES = ("read", "exact", "quality", "language", "toxicity", "dedup")  # those that reject, in order
CHARACTERS_PER_TOKEN = 4  # a rule of thumb for European languages: the estimate is good to a quarter or so

COUNTERS = {  # name -> the columns whose combinations it counts
    "kept": ("source",),
    "rejected": ("source", "stage", "reason", "threshold"),
    "splits": ("split", "label"),
    "languages": ("lang",),
    "languages_rejected": ("lang",),
    "pii": ("source", "type"),
    "pii_rows": ("source",),
    "characters": ("split",),
    "exchanges": ("exchanges",),
    "read_characters": ("source",),
    "removed": ("source", "kind"),  # characters
    "removed_rows": ("source", "kind"),
}
CUTS = ("quote", "signature", "footer")  # of what reading removes, what somebody may have written
LOSER = ("id", "source", "source_id", "path", "line", "characters", "removed")
MOST = 20  # rows named that lost most

Key = tuple[Any, ...]


def _counted(table: pa.Table, names: Sequence[str]) -> dict[Key, int]:
    """Returns how often each combination of values of some columns occurs; a null is a value."""
    groups = table.select(list(names)).group_by(list(names)).aggregate([([], "count_all")])
    columns = (groups[name].to_pylist() for name in names)
    return dict(zip(zip(*columns, strict=True), groups["count_all"].to_pylist(), strict=True))


def _sums(table: pa.Table, names: Sequence[str], value: str) -> dict[Key, int]:
    """Returns a column's values by the values of others, null as 0."""
    keys = zip(*(table[name].to_pylist() for name in names), strict=True)
    return {key: count or 0 for key, count in zip(keys, table[value].to_pylist(), strict=True)}


def _words(texts: pa.ChunkedArray) -> np.ndarray:
    """Returns the number of words of each text, 0 for null."""
    return np.asarray(pc.fill_null(pc.count_substring_regex(texts, "[^\\x00- ]+"), 0))


def _histogram(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    return np.asarray(np.histogram(values, bins=[*edges, np.inf])[0])


def _scores(column: pa.ChunkedArray) -> np.ndarray:
    """Returns the scores of a column as they were rounded: in float32 a 0.95 lies below the edge 0.95."""
    return np.round(np.asarray(column.drop_null().cast(pa.float64())), 4)


@dataclass
class Counts:
    """Counters over rows. The counts of parts add up to the counts of the whole."""

    counters: dict[str, Counter[Key]] = field(default_factory=lambda: {name: Counter() for name in COUNTERS})
    histograms: dict[str, np.ndarray] = field(default_factory=dict)  # name -> counts per bin
    losers: list[dict[str, Any]] = field(default_factory=list)  # the `MOST` rows that reading cut most from

    def add_kept(self, table: pa.Table, splits: pa.Array) -> None:
        """Counts kept WORKING rows and the split each went to."""
        label = pc.fill_null(table["label"], "")
        self._count("kept", table)
        self._count("splits", pa.table({"split": splits, "label": label}))
        self._count("languages", table)
        sources = table["source"].take(pc.list_parent_indices(table["pii"]))
        self._count("pii", pa.table({"source": sources, "type": pc.list_flatten(table["pii"])}))
        self._count("pii_rows", table.filter(pc.greater(pc.list_value_length(table["pii"]), 0)))
        sides = schema.sides(table)
        characters = pa.table({"split": splits, "n": pc.add(*map(pc.utf8_length, sides))})
        sums = characters.group_by("split").aggregate([("n", "sum")])
        self.counters["characters"].update(
            {(split,): n for split, n in zip(sums["split"].to_pylist(), sums["n_sum"].to_pylist(), strict=True)}
        )
        for name, texts in zip(LENGTHS, sides, strict=True):
            self._add(name, _histogram(_words(texts), WORD_EDGES))
        self._count("exchanges", pa.table({"exchanges": np.diff(schema.turns(table)[1]) // 2}))
        self._add_scores(table, "kept")
        self._add_removed(table)

    def add_rejected(self, table: pa.Table) -> None:
        """Counts marked rows. The languages are those of the rows that got as far as having one judged."""
        self._count("rejected", table)
        self._count("languages_rejected", table.filter(pc.is_valid(table["lang_score"])))
        self._add_scores(table, "rejected")
        self._add_removed(table)

    def _add_removed(self, table: pa.Table) -> None:
        """Counts what reading removed from rows, by kind, and notes those that it cut most from."""
        read = table.group_by("source").aggregate([("characters", "sum")])
        self.counters["read_characters"].update(_sums(read, ("source",), "characters_sum"))
        rows, items = np.asarray(pc.list_parent_indices(table["removed"])), pc.list_flatten(table["removed"])
        kinds, counts = pc.struct_field(items, "kind"), pc.struct_field(items, "characters")
        flat = pa.table({"source": table["source"].take(pa.array(rows)), "kind": kinds, "n": counts})
        sums = flat.group_by(["source", "kind"]).aggregate([("n", "sum"), ("n", "count")])
        self.counters["removed"].update(_sums(sums, ("source", "kind"), "n_sum"))
        self.counters["removed_rows"].update(_sums(sums, ("source", "kind"), "n_count"))
        lost = np.zeros(table.num_rows, dtype=np.int64)
        cut = np.asarray(pc.is_in(kinds, pa.array(CUTS)))
        np.add.at(lost, rows[cut], np.asarray(counts, dtype=np.int64)[cut])
        largest = np.lexsort((np.arange(len(lost)), -lost))[:MOST]
        named = table.take(pa.array(largest[lost[largest] > 0])).select(LOSER).to_pylist()
        self._note([row | {"removed": {item["kind"]: item["characters"] for item in row["removed"]}} for row in named])

    def _note(self, rows: Sequence[dict[str, Any]]) -> None:
        def order(row: dict[str, Any]) -> tuple[Any, ...]:
            return -sum(row["removed"].get(kind, 0) for kind in CUTS), row["path"], row["line"], row["id"]

        self.losers = sorted([*self.losers, *rows], key=order)[:MOST]

    def _count(self, name: str, table: pa.Table) -> None:
        self.counters[name].update(_counted(table, COUNTERS[name]))

    def _add_scores(self, table: pa.Table, fate: str) -> None:
        for name in SCORES:
            self._add(f"{name}/{fate}", _histogram(_scores(table[name]), SCORE_EDGES))

    def _add(self, name: str, counts: np.ndarray) -> None:
        self.histograms[name] = self.histograms.get(name, np.zeros(len(counts), dtype=np.int64)) + counts

    def merge(self, other: Counts) -> None:
        """Adds other counts to these, in place."""
        for name, counter in other.counters.items():
            self.counters[name].update(counter)
        for name, counts in other.histograms.items():
            self._add(name, counts)
        self._note(other.losers)

    def _sum(self, name: str, *columns: str) -> dict[Any, int]:
        """Returns a counter summed over all but `columns`, sorted; with one column the keys are its values."""
        positions = [COUNTERS[name].index(column) for column in columns]
        sums: Counter[Key] = Counter()
        for key, count in self.counters[name].items():
            sums[tuple(key[n] for n in positions)] += count
        ordered = sorted(sums.items(), key=lambda item: [(value is not None, value) for value in item[0]])
        return {key if len(positions) > 1 else key[0]: count for key, count in ordered}

    def check(self, read: Mapping[str, int]) -> None:
        """Raises `IntegrityError` unless, for every source, the rows read are the rows kept plus the rows rejected."""
        kept, rejected = self._sum("kept", "source"), self._sum("rejected", "source")
        for source in sorted({*read, *kept, *rejected}):
            counts = read.get(source, 0), kept.get(source, 0), rejected.get(source, 0)
            if counts[0] != counts[1] + counts[2]:
                message = "source {}: {} rows read, {} kept, {} rejected: rows were lost or doubled; report this"
                raise IntegrityError(message.format(source, *counts))

    def metrics(self, read: Mapping[str, int]) -> dict[str, Any]:
        """Returns the content of `metrics/curate.json`; the same rows give the same value, byte for byte."""
        kept = self._sum("kept", "source")
        reasons = _nested(read, self._sum("rejected", "source", "reason"))
        labels = _nested(SPLITS, self._sum("splits", "split", "label"))
        return {
            "sources": {
                source: {"read": rows, "kept": kept.get(source, 0), "rejected": reasons[source]}
                for source, rows in sorted(read.items())
            },
            "splits": {split: sum(labels[split].values()) for split in SPLITS},
            "funnel": self._funnel(sum(read.values())),
            "reasons": self._reasons(),
            "languages": _named(self._sum("languages", "lang")),
            "languages_rejected": _named(self._sum("languages_rejected", "lang")),
            "pii": self._sum("pii", "type"),
            "pii_by_source": _nested(sorted(read), self._sum("pii", "source", "type")),
            "pii_rows": {source: self._sum("pii_rows", "source").get(source, 0) for source in sorted(read)},
            "removed": self._removed(sorted(read)),
            "labels": labels,
            "exchanges": {str(number): rows for number, rows in self._sum("exchanges", "exchanges").items()},
            "lengths": {name: self._bins(name, WORD_EDGES) for name in LENGTHS},
            "scores": {
                name: {fate: self._bins(f"{name}/{fate}", SCORE_EDGES) for fate in ("kept", "rejected")}
                for name in SCORES
            },
            "tokens_estimate": {
                split: round(self.counters["characters"][split,] / CHARACTERS_PER_TOKEN) for split in SPLITS
            },
        }

    def _removed(self, sources: Sequence[str]) -> dict[str, Any]:
        """Returns the characters of every source: read = kept + removed; `kept`: when it was read, before scrubbing."""
        read = self._sum("read_characters", "source")
        kinds = _nested(sources, self._sum("removed", "source", "kind"))
        return {
            "sources": {
                source: {
                    "read": read.get(source, 0),
                    "kept": read.get(source, 0) - sum(kinds[source].values()),
                    "removed": kinds[source],
                }
                for source in sources
            },
            "kinds": {
                kind: {"characters": count, "rows": self._sum("removed_rows", "kind")[kind]}
                for kind, count in self._sum("removed", "kind").items()
            },
            "most": self.losers,
        }

    def _stages(self) -> list[str]:
        return [*STAGES, *(stage for stage in self._sum("rejected", "stage") if stage not in STAGES)]

    def _funnel(self, left: int) -> list[dict[str, Any]]:
        funnel: list[dict[str, Any]] = [{"stage": "rows read", "rows": left}]
        rejected = self._sum("rejected", "stage")
        for stage in self._stages():
            left -= rejected.get(stage, 0)
            funnel.append({"stage": stage, "rows": left})
        return funnel

    def _reasons(self) -> list[dict[str, Any]]:
        """Returns every reason with its threshold, in the order of the stages."""
        rows = self._sum("rejected", "stage", "reason", "threshold")
        by_source = self._sum("rejected", *COUNTERS["rejected"])
        return [
            {
                "stage": stage,
                "reason": key[1],
                "threshold": _plain(key[2]),
                "rows": count,
                "by_source": {source: n for (source, *rest), n in by_source.items() if tuple(rest) == key},
            }
            for stage in self._stages()
            for key, count in rows.items()
            if key[0] == stage
        ]

    def _bins(self, name: str, edges: Sequence[float]) -> dict[str, Any]:
        return {"edges": list(edges), "counts": self.histograms.get(name, np.zeros(len(edges), int)).tolist()}


def _nested(outer: Iterable[str], counts: Mapping[Any, int]) -> dict[str, dict[str, int]]:
    """Turns {(a, b): n} into {a: {b: n}} with an entry for each of `outer`."""
    nested: dict[str, dict[str, int]] = {name: {} for name in outer}
    for (name, key), count in counts.items():
        nested[name][key] = count
    return nested


def _named(languages: Mapping[str | None, int]) -> dict[str, int]:
    """Calls a language that could not be told `unknown`."""
    return dict(sorted((lang or "unknown", count) for lang, count in languages.items()))


def _plain(threshold: float | None) -> float | None:
    """Returns a float32 as the number that was configured."""
    return None if threshold is None else float(f"{threshold:.6g}")
