"""Finding rows of a run by what a person calls them, and what every stage has written about them.

A name is a row's id (32 hex digits, or at least 6 of them that no other id begins with), its id in the dump, either as
`SOURCE:ID` or as it is, or the place it was read from, `PATH:LINE`.
Output contract: `Lookup.find` returns every row that a name means, `Lookup.of` those with an id. A row is a dict
of the columns SEEN, with the marks and the group that `dedup` gave it, its `split`, the `file` it was found in and the
`twin_run`, the place of an earlier run that has its twin. The text of a row is not in it and not read, but by
`Lookup.text`, which returns the scrubbed text of a kept one.
Cost: two or three scans of a few columns, about two seconds over a million rows; nothing needs Ray.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from functools import cached_property, reduce
from operator import and_, or_
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.curation import golden_rows
from pipeline.curation.assemble import DECISIONS, SPLIT
from pipeline.errors import InputError, IntegrityError, MissingStageError
from pipeline.run import Run

STAGES = ("read", "screen", "toxicity", "dedup", "curate")  # of curation, in order
HIDDEN = ("prompt", "response", "entities")  # never looked at
SEEN = pa.schema([column for column in schema.WORKING if column.name not in HIDDEN])
NAMES = pa.schema([SEEN.field(name) for name in ("id", "source", "source_id", "path", "line")])
MIN_PREFIX = 6
MAX_MISSES = 5

Row = dict[str, Any]


class Lookup:
    """The rows of one run folder. Raises `MissingStageError` where nothing has been curated."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._groups: dict[str, tuple[int, int]] = {}
        self._rows: dict[str, list[Row]] = {}
        if not self.parts:
            raise MissingStageError(f"{run.uri} holds no curated rows: run `jobs.curate` on it first")

    # -- what there is ------------------------------------------------------------------------------------------------

    def _manifest(self, stage: str) -> dict[str, Any] | None:
        path = f"stages/{stage}/_manifest.json"
        return dict(self.run.read_json(path)) if self.run.exists(path) else None

    @cached_property
    def done(self) -> dict[str, dict[str, Any]]:
        """The manifests of the finished stages of the latest curation. One that is left of an earlier curation, with
        other inputs, does not count, nor does what follows it."""
        done: dict[str, dict[str, Any]] = {}
        before: str | None = None
        for stage in STAGES:
            manifest = self._manifest(stage)
            if manifest is None and stage == "read" and not self.run.list("stages/read"):
                continue  # deleted at the end, because it held personal data
            if manifest is None or (before is not None and stage != "curate" and manifest["inputs"] != before):
                break
            done[stage] = manifest
            before = manifest["key"]
        return done

    @cached_property
    def parts(self) -> list[str]:
        """The tables that the latest finished stage has left, or what has been read so far."""
        for stage in ("toxicity", "screen", "read"):
            if stage in self.done:
                return _parts(stage, self.done[stage]["outputs"])
        return _parts("read", self.run.list("stages/read"))

    @cached_property
    def synthetic(self) -> list[str]:
        """Paths of the tables with rephrasings, kept and rejected; none before `synthesize`."""
        outputs = (self._manifest("synthesize") or {"outputs": ()})["outputs"]
        return [path for path in outputs if path.endswith(".parquet")]

    @property
    def pending(self) -> tuple[str, ...]:
        """The stages that are not finished."""
        last = max((STAGES.index(stage) for stage in self.done), default=-1)
        return STAGES[last + 1 :]

    @cached_property
    def frozen(self) -> frozenset[str]:
        """Ids that earlier curations of this folder made golden."""
        if not self.run.exists(golden_rows.FROZEN):
            return frozenset()
        return frozenset(self.run.read_table(golden_rows.FROZEN, columns=["id"])["id"].to_pylist())

    @cached_property
    def tables(self) -> list[str]:
        """Every table in which a row may be found."""
        carried = (
            [golden_rows.CARRIED]
            if "curate" in self.done and golden_rows.CARRIED in self.done["curate"]["outputs"]
            else []
        )
        return [*self.parts, *self.synthetic, *carried]

    # -- rows ---------------------------------------------------------------------------------------------------------

    def find(self, name: str) -> list[Row]:
        """Returns the rows that a name means, in the order of their sources; raises `InputError` when there is none."""
        name = name.strip()
        readings = _readings(name)
        everywhere = self.run.scan(self.tables, NAMES, reduce(or_, readings.values()))
        for reading, where in readings.items():
            hits = everywhere.filter(where)
            ids = hits["id"].unique().to_pylist()
            if reading == "prefix" and len(ids) > 1:
                some = ", ".join(sorted(ids)[:MAX_MISSES])
                raise InputError(f"{len(ids)} ids begin with {name}: {some}{' …' if len(ids) > MAX_MISSES else ''}")
            if ids:
                break
        else:
            hits = self._around(name)
        if not hits.num_rows:
            raise InputError(self._unknown(name))
        meant = {(row["id"], row["path"], row["line"]) for row in hits.to_pylist()}
        self.load({key[0] for key in meant})
        rows = [row for key in {key[0] for key in meant} for row in self.of(key)]
        rows = [row for row in rows if (row["id"], row["path"], row["line"]) in meant]
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
        decided = self._table(DECISIONS, "dedup", ids)
        twins = {fate["twin"] for fate in decided.values() if fate["twin"] and not fate.get("twin_run")}
        twins -= ids | set(self._rows)
        decided |= self._table(DECISIONS, "dedup", twins)
        ids |= twins
        split = self._table(SPLIT, "curate", ids)
        self._rows.update({identity: [] for identity in ids})
        for row in self.run.scan(self.tables, SEEN, pc.field("id").isin(list(ids))).to_pylist():
            self._rows[row["id"]].append(row)
            row["twin_run"] = None
            if row["file"] not in self.parts:
                row["split"] = None if row["stage"] else "golden" if row["file"] == golden_rows.CARRIED else "train"
                continue
            fate = None if row["stage"] else decided.get(row["id"])
            if fate is not None:
                row["group"] = fate["group"]
            if fate is not None and not fate["kept"]:
                row |= {"stage": "dedup", "reason": fate["reason"], "score": fate["jaccard"]}
                row |= {"twin": fate["twin"], "twin_run": fate.get("twin_run")}
            row["split"] = None if row["stage"] else split.get(row["id"], {}).get("split")

    def _table(self, path: str, stage: str, ids: Collection[str]) -> dict[str, Row]:
        """Returns rows of a stage's own table, sorted by id, by id; none where the stage is not finished."""
        if stage not in self.done or not ids:
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

    def place(self, row: Row) -> str:
        """Returns the file of the finished run that holds a row now; raises `IntegrityError` when none does."""
        if row["file"] not in self.parts:
            return str(row["file"])
        folder = f"data/{row['split']}/" if row["split"] else "rejects/"
        files = [path for path in self.done["curate"]["outputs"] if path.startswith(folder)]
        columns = ["id"] if row["split"] else ["id", "path", "line"]
        where = reduce(and_, (pc.field(name) == row[name] for name in columns))
        files_with_row = self.run.scan(files, NAMES, where)["file"].to_pylist()
        if len(files_with_row) != 1:
            raise IntegrityError(f"{self.run.full(folder)} holds row {row['id']} {len(files_with_row)} times, not once")
        return str(files_with_row[0])

    def text(self, row: Row) -> tuple[str, str]:
        """Returns question and answer of a kept row as they are in `data/`: scrubbed."""
        table = self.run.read_table(
            self.place(row), columns=["prompt", "response"], filters=pc.field("id") == row["id"]
        )
        return table["prompt"][0].as_py(), table["response"][0].as_py()

    # -- names --------------------------------------------------------------------------------------------------------

    def _around(self, name: str) -> pa.Table:
        """Returns the record that a line lies in which is not its first; of none where `name` is no path and line."""
        path, line = _place(name)
        rows = self.run.scan(self.parts, NAMES, _file(path) & (pc.scalar(line) > 0))
        begins = rows["line"].to_pylist()
        before = [begin for begin in begins if begin < line]
        if not before or max(begins) <= line:  # the last record of a file may end anywhere
            return rows.slice(0, 0)
        return rows.filter(pc.equal(rows["line"], max(before)))

    def _unknown(self, name: str) -> str:
        read = ("read", "screen", "toxicity")
        sources = sorted({source for stage in read if stage in self.done for source in self.done[stage]["rows"]})
        message = f"no row of {self.run.uri} is called {name}"
        misses = self._misses(name)
        if misses:
            message += f": did you mean {' or '.join(misses)}?"
        elif close := difflib.get_close_matches(name.partition(":")[0], sources, n=1):
            message += f": source {close[0]} has no such id"
        return message

    def _misses(self, name: str) -> list[str]:
        """Returns names one typing error away, as `SOURCE:ID` or as an id."""
        if len(name) > 64:
            return []
        typo = _typo(name.rpartition(":")[2])
        ids = re.fullmatch(r"[0-9a-f]{8,32}", name.lower())
        where = pc.match_substring_regex(pc.field("id" if ids else "source_id"), typo + ("" if ids else "$"))
        examples = self.run.scan(self.parts, NAMES, where).slice(0, 1000).to_pylist()
        names = {row["id"] if ids else f"{row['source']}:{row['source_id']}" for row in examples}
        return sorted(names, key=lambda other: (abs(len(other) - len(name)), other))[:MAX_MISSES]


def _parts(stage: str, paths: Iterable[str]) -> list[str]:
    return [path for path in sorted(paths) if re.fullmatch(rf"stages/{stage}/\d+-\d+\.parquet", path)]


def _readings(name: str) -> dict[str, Any]:
    """Returns what a name may mean, likeliest first, each as an expression over NAMES."""
    readings = {"source_id": pc.field("source_id") == name}
    cuts = [(name[: colon.start()], name[colon.end() :]) for colon in re.finditer(":", name)]
    if cuts:
        pairs = ((pc.field("source") == source) & (pc.field("source_id") == source_id) for source, source_id in cuts)
        readings["source:source_id"] = reduce(or_, pairs)
    path, line = _place(name)
    if line:
        readings["path:line"] = _file(path) & (pc.field("line") == line)
    if re.fullmatch(rf"[0-9a-fA-F]{{{MIN_PREFIX},32}}", name):
        readings["prefix"] = pc.starts_with(pc.field("id"), name.lower())
    return readings


def _place(name: str) -> tuple[str, int]:
    """Splits `PATH:LINE`; the line is 0 where a name does not end in one."""
    path, _, line = name.rpartition(":")
    return (path, int(line)) if path and re.fullmatch("[0-9]{1,12}", line) else (name, 0)


def _file(path: str) -> Any:
    """Returns the expression for the rows of a file. It is known by its path relative to its input; what a person gives
    may have more folders before it, or fewer."""
    parts = PurePosixPath(path).parts
    longer = pc.field("path").isin(["/".join(parts[depth:]) for depth in range(len(parts))])
    return longer | pc.ends_with(pc.field("path"), f"/{path}")


def _typo(name: str) -> str:
    """Returns a regular expression for what one missing, wrong, added or swapped character makes of a name."""
    letters = [re.escape(letter) for letter in name]
    forms = ["".join([*letters[:i], ".{0,2}", *letters[i + 1 :]]) for i in range(len(letters))]
    forms += ["".join([*letters[:i], letters[i + 1], letters[i], *letters[i + 2 :]]) for i in range(len(letters) - 1)]
    return f"^(?:{'|'.join(forms)})"
