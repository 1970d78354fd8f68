"""Finds the rows of a run by the names that people use, and reads what every stage has written about them.

A name is a row's id (32 hex digits, or at least 6 of them that no other id begins with), its id in the dump, either as
`SOURCE:ID` or alone, or the position it was read from, `PATH:LINE`.
Output contract: `RowFinder.find` returns every row of a name, `RowFinder.of` every row of an id. A row is a dict of the
columns SEEN, with the marks and the group that `dedup` gave it, its `split`, the `file` it was found in and `twin_run`,
the URI of an earlier run that holds its twin. The text of a row is neither in it nor read, except by `RowFinder.text`,
which returns the scrubbed text of a kept row.
Cost: two or three scans of a few columns, about two seconds for a million rows, without Ray.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from functools import cached_property, reduce
from operator import and_, itemgetter, or_
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.curation import golden_rows
from pipeline.curation.assemble import DECISIONS, SPLIT
from pipeline.curation.data_card import STAGES
from pipeline.errors import InputError, IntegrityError, MissingStageError
from pipeline.run import Run, outputs

HIDDEN = (*schema.FIRST, "later", "entities")  # columns that are never read
SEEN = pa.schema([column for column in schema.WORKING if column.name not in HIDDEN])
NAMES = pa.schema([SEEN.field(name) for name in ("id", "source", "source_id", "path", "line")])
MIN_PREFIX = 6  # digits of an id
MAX_MISSES = 5  # names that a message lists

Row = dict[str, Any]
_position = itemgetter("id", "path", "line")  # tells copies of a row apart


class RowFinder:
    """The rows of one run folder. Raises `MissingStageError` where nothing has been curated."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._groups: dict[str, tuple[int, int]] = {}
        self._rows: dict[str, list[Row]] = {}
        if not self.parts:
            raise MissingStageError(f"{run.uri} holds no curated rows: run `jobs.curate` on it first")

    # -- stages and tables --------------------------------------------------------------------------------------------

    def _manifest(self, stage: str) -> dict[str, Any] | None:
        path = f"stages/{stage}/_manifest.json"
        return dict(self.run.read_json(path)) if self.run.exists(path) else None

    @cached_property
    def finished(self) -> dict[str, dict[str, Any]]:
        """The manifests of the finished stages of the latest curation. The first stage left by an earlier curation,
        with other inputs, does not count, nor does any stage after it."""
        manifests: dict[str, dict[str, Any]] = {}
        previous: str | None = None
        for stage in STAGES:
            manifest = self._manifest(stage)
            if manifest is None and stage == "read" and not self.run.list("stages/read"):
                continue  # deleted at the end, because it held personal data
            if manifest is None or (previous is not None and stage != "curate" and manifest["inputs"] != previous):
                break
            manifests[stage] = manifest
            previous = manifest["key"]
        return manifests

    @cached_property
    def parts(self) -> list[str]:
        """Paths of the tables of the latest finished row stage, or of what has been read so far."""
        for stage in ("toxicity", "screen", "read"):
            if stage in self.finished:
                return _parts(stage, self.finished[stage]["outputs"])
        return _parts("read", self.run.list("stages/read"))

    @cached_property
    def synthetic(self) -> list[str]:
        """Paths of the tables with rephrasings, kept and rejected; none before `synthesize`."""
        paths = (self._manifest("synthesize") or {"outputs": ()})["outputs"]
        return [path for path in paths if path.endswith(".parquet")]

    @property
    def pending(self) -> tuple[str, ...]:
        """The stages that are not finished."""
        last = max((STAGES.index(stage) for stage in self.finished), default=-1)
        return STAGES[last + 1 :]

    @cached_property
    def frozen(self) -> frozenset[str]:
        """Ids that earlier curations of this folder made golden."""
        if not self.run.exists(golden_rows.FROZEN):
            return frozenset()
        return frozenset(self.run.read_table(golden_rows.FROZEN, columns=["id"])["id"].to_pylist())

    @cached_property
    def tables(self) -> list[str]:
        """Paths of all tables that rows are looked for in."""
        curated = self.finished.get("curate", {"outputs": ()})["outputs"]
        return [*self.parts, *self.synthetic, *(path for path in curated if path == golden_rows.CARRIED)]

    # -- rows ---------------------------------------------------------------------------------------------------------

    def find(self, name: str) -> list[Row]:
        """Returns the rows of a name, sorted by source and id in the dump; raises `InputError` where there is none."""
        name = name.strip()
        readings = _readings(name)
        candidates = self.run.scan(self.tables, NAMES, reduce(or_, readings.values()))
        matches = ((reading, candidates.filter(where)) for reading, where in readings.items())
        reading, matched = next((match for match in matches if match[1].num_rows), ("", None))
        if matched is None and not (matched := self._around(name)).num_rows:
            raise InputError(self._unknown(name))
        ids = sorted(set(matched["id"].to_pylist()))
        if reading == "prefix" and len(ids) > 1:
            more = " …" if len(ids) > MAX_MISSES else ""
            raise InputError(f"{len(ids)} ids begin with {name}: {', '.join(ids[:MAX_MISSES])}{more}")
        positions = set(map(_position, matched.to_pylist()))
        self.load(ids)
        rows = [row for identity in ids for row in self.of(identity) if _position(row) in positions]
        return sorted(rows, key=lambda row: (row["source"], row["source_id"], row["path"] or "", row["line"] or 0))

    def of(self, identity: str) -> list[Row]:
        """Returns all rows with an id, copies included."""
        self.load({identity})
        return self._rows[identity]

    def load(self, ids: Collection[str]) -> None:
        """Reads rows and their near twins in one scan, with what the later stages decided on them."""
        ids = set(ids) - set(self._rows)
        if not ids:
            return
        decisions = self._by_id(DECISIONS, "dedup", ids)
        twins = {row["twin"] for row in decisions.values() if row["twin"] and not row.get("twin_run")}
        twins -= ids | set(self._rows)
        decisions |= self._by_id(DECISIONS, "dedup", twins)
        ids |= twins
        splits = self._by_id(SPLIT, "curate", ids)
        self._rows.update({identity: [] for identity in ids})
        for row in self.run.scan(self.tables, SEEN, pc.field("id").isin(list(ids))).to_pylist():
            decision, split = decisions.get(row["id"]), splits.get(row["id"], {}).get("split")
            self._rows[row["id"]].append(row | self._later(row, decision, split))

    def _later(self, row: Row, decision: Row | None, split: str | None) -> Row:
        """Returns the columns that stages after the row's own table set: split, group and the marks of `dedup`."""
        if row["stage"]:
            return {"split": None}
        if row["file"] not in self.parts:
            return {"split": "golden" if row["file"] == golden_rows.CARRIED else "train"}
        if decision is None or decision["kept"]:
            return {"split": split, "group": decision and decision["group"]}
        marks = {"stage": "dedup", "score": decision["jaccard"], "twin_run": decision.get("twin_run"), "split": None}
        return marks | {name: decision[name] for name in ("group", "reason", "twin")}

    def _by_id(self, path: str, stage: str, ids: Collection[str]) -> dict[str, Row]:
        """Returns the rows of a stage's table that have one of the ids, by id; none where the stage is unfinished."""
        if stage not in self.finished or not ids:
            return {}
        table = self.run.read_table(path, filters=pc.field("id").isin(list(ids)))
        return {row["id"]: row for row in table.to_pylist()}

    def group(self, name: str) -> tuple[int, int]:
        """Returns how many rows a near-duplicate group has, and how many of them are kept."""
        if name not in self._groups:
            table = self.run.read_table(DECISIONS, columns=["kept"], filters=pc.field("group") == name)
            self._groups[name] = table.num_rows, int(pc.sum(table["kept"]).as_py() or 0)
        return self._groups[name]

    def children(self, identity: str) -> tuple[int, int]:
        """Returns how many rephrasings were made from a row, and how many of them are kept."""
        columns = pa.schema([SEEN.field("parent_id"), SEEN.field("path")])
        where = (pc.field("parent_id") == identity) | (pc.field("path") == identity)
        files = self.run.scan(self.synthetic, columns, where)["file"].to_pylist()
        return len(files), sum(file.startswith("data/") for file in files)

    def final_file(self, row: Row) -> str:
        """Returns the path of the finished run's file that holds a row; raises `IntegrityError` unless one does."""
        if row["file"] not in self.parts:
            return str(row["file"])
        folder = f"data/{row['split']}" if row["split"] else "rejects"
        columns = ["id"] if row["split"] else ["id", "path", "line"]
        where = reduce(and_, (pc.field(name) == row[name] for name in columns))
        files = self.run.scan(outputs(self.finished["curate"], folder), NAMES, where)["file"].to_pylist()
        if len(files) != 1:
            raise IntegrityError(f"{self.run.full(folder)}/ holds row {row['id']} {len(files)} times, not once")
        return str(files[0])

    def text(self, row: Row) -> tuple[str, ...]:
        """Returns the scrubbed turns of a kept row, as they are in `data/`."""
        table = self.run.read_table(self.final_file(row), filters=pc.field("id") == row["id"])
        return tuple(schema.turns(schema.completed(table))[0].to_pylist())

    # -- names --------------------------------------------------------------------------------------------------------

    def _around(self, name: str) -> pa.Table:
        """Returns the record that spans the line of a `PATH:LINE` without beginning on it; no row where there is none.
        The last record of a file may end anywhere, so it spans no line."""
        path, line = _path_and_line(name)
        rows = self.run.scan(self.parts, NAMES, _in_file(path) & (pc.scalar(line) > 0))
        starts = rows["line"]
        start = pc.max(starts.filter(pc.less(starts, line))).as_py()
        inside = start and pc.any(pc.greater(starts, line)).as_py()
        return rows.filter(pc.equal(starts, start)) if inside else rows.slice(0, 0)

    def _unknown(self, name: str) -> str:
        """Returns the message for a name of no row, with the names or the source that it may be a misspelling of."""
        sources = sorted({source for stage in STAGES[:3] for source in self.finished.get(stage, {"rows": ()})["rows"]})
        message = f"no row of {self.run.uri} is called {name}"
        if misses := self._misses(name):
            message += f": did you mean {' or '.join(misses)}?"
        elif close := difflib.get_close_matches(name.partition(":")[0], sources, n=1):
            message += f": source {close[0]} has no such id"
        return message

    def _misses(self, name: str) -> list[str]:
        """Returns names one typing error away, as `SOURCE:ID` or as an id."""
        if len(name) > 64:
            return []
        typo = _typo(name.rpartition(":")[2])
        is_id = re.fullmatch(r"[0-9a-f]{8,32}", name.lower())
        where = pc.match_substring_regex(pc.field("id" if is_id else "source_id"), typo + ("" if is_id else "$"))
        rows = self.run.scan(self.parts, NAMES, where).slice(0, 1000).to_pylist()
        names = {row["id"] if is_id else f"{row['source']}:{row['source_id']}" for row in rows}
        return sorted(names, key=lambda other: (abs(len(other) - len(name)), other))[:MAX_MISSES]


def _parts(stage: str, paths: Iterable[str]) -> list[str]:
    return [path for path in sorted(paths) if re.fullmatch(rf"stages/{stage}/\d+-\d+\.parquet", path)]


def _readings(name: str) -> dict[str, Any]:
    """Returns the meanings that a name may have, likeliest first, each as an expression over NAMES."""
    readings = {"source_id": pc.field("source_id") == name}
    cuts = [(name[: colon.start()], name[colon.end() :]) for colon in re.finditer(":", name)]
    if cuts:
        pairs = ((pc.field("source") == source) & (pc.field("source_id") == source_id) for source, source_id in cuts)
        readings["source:source_id"] = reduce(or_, pairs)
    path, line = _path_and_line(name)
    if line:
        readings["path:line"] = _in_file(path) & (pc.field("line") == line)
    if re.fullmatch(rf"[0-9a-fA-F]{{{MIN_PREFIX},32}}", name):
        readings["prefix"] = pc.starts_with(pc.field("id"), name.lower())
    return readings


def _path_and_line(name: str) -> tuple[str, int]:
    """Splits `PATH:LINE`; the line is 0 where a name does not end in one."""
    path, _, line = name.rpartition(":")
    return (path, int(line)) if path and re.fullmatch("[0-9]{1,12}", line) else (name, 0)


def _in_file(path: str) -> Any:
    """Returns the expression for the rows of a file. Rows have its path relative to its input; the path given may have
    more folders before it, or fewer."""
    parts = PurePosixPath(path).parts
    longer = pc.field("path").isin(["/".join(parts[depth:]) for depth in range(len(parts))])
    return longer | pc.ends_with(pc.field("path"), f"/{path}")


def _typo(name: str) -> str:
    """Returns a regular expression for what one missing, wrong, added or swapped character makes of a name."""
    letters = [re.escape(letter) for letter in name]
    forms = ["".join([*letters[:i], ".{0,2}", *letters[i + 1 :]]) for i in range(len(letters))]
    forms += ["".join([*letters[:i], letters[i + 1], letters[i], *letters[i + 2 :]]) for i in range(len(letters) - 1)]
    return f"^(?:{'|'.join(forms)})"
