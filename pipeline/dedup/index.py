"""Rows of earlier curations that later ones must not repeat: an earlier run's tables, or frozen golden records.

Output contract: an `Index` names the files of earlier rows and their decisions. Only its kept rows count; they rank
before those of the run that is being curated, and are always kept. `fingerprint` changes whenever those rows do: it
belongs into the key of a stage that uses the index. Indices with hashes of another kind are refused.
This module opens and describes; `near` makes the tables and reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.config import Dedup
from pipeline.errors import IntegrityError, UserError
from pipeline.run import Run, fingerprint, outputs

FORMAT = 2  # raise it when the same text gives other shingle hashes, signatures or band keys than before

DECISIONS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("twin", pa.string()),  # the kept row that a near duplicate repeats
        pa.field("twin_run", pa.string()),  # the earlier run that the twin is in; null: this one
        pa.field("jaccard", pa.float32()),  # between the two, exact; below the threshold in mode `components` alone
        pa.field("group", pa.string(), nullable=False),  # name of the connected component, dropped rows included
        pa.field("reason", pa.string()),  # near_duplicate | empty_text; null: kept
    ]
)


@dataclass(frozen=True)
class Part:
    """A band table and the shingle table of the same rows, in the same order."""

    run: Run
    bands: str
    shingles: str


@dataclass(frozen=True)
class Index:
    """Earlier rows. `name` is what a decision calls their run; None: the run itself, whose golden rows they are.

    Either `parts` and `decisions` are there, or `records` (RECORD tables, all of whose rows count) are yet to be
    sketched.
    """

    run: Run
    name: str | None
    fingerprint: str
    parts: tuple[Part, ...] = ()
    decisions: str = ""
    records: tuple[str, ...] = ()


def describe(settings: Dedup) -> dict[str, int]:
    """Returns the settings that two comparable band tables share; each stage writes them to its `index.json`."""
    return {"format": FORMAT, "shingle_words": settings.shingle_words, "bands": settings.bands, "rows": settings.rows}


def of_run(run: Run, settings: Dedup, stage: str = "dedup") -> Index:
    """Returns the index of an earlier run's near-duplicate stage, named by the run's URI.

    Raises `UserError` when the run has none or has made it with other settings.
    """
    manifest = run.manifest(stage)
    if manifest is None:
        raise UserError(
            f"{run.uri} holds no finished curation: give run folders that `jobs.curate` has finished, whole"
        )
    folder = f"stages/{stage}"
    actual, expected = _described(run, f"{folder}/index.json"), describe(settings)
    if actual != expected:
        other = ", ".join(
            f"{name} {actual.get(name)} instead of {expected[name]}"
            for name in expected
            if actual.get(name) != expected[name]
        )
        raise UserError(
            f"the rows of {run.uri} cannot be compared with this run's: its index has {other}. "
            "Set the same `curate.dedup` in both, or curate the earlier run again"
        )
    bands = outputs(manifest, f"{folder}/bands")
    parts = tuple(Part(run, path, path.replace("/bands/", "/shingles/", 1)) for path in bands)
    key = fingerprint(run.uri, manifest["key"], sorted(manifest["outputs"].items()))
    return Index(run, run.uri, key, parts, f"{folder}/decisions.parquet")


def _described(run: Run, path: str) -> dict[str, Any]:
    try:
        return dict(run.read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{run.uri} has no readable {path}: curate it again with this version") from error


def of_records(run: Run, paths: Sequence[str], name: str | None = None) -> Index:
    """Returns an index of the RECORD tables at `paths`, to be sketched by the stage that uses it."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        table = schema.completed(run.read_table(path)).select(["id", "group", *schema.FIRST, "later"])
        for row in zip(*(table[column].to_pylist() for column in table.column_names), strict=True):
            digest.update(repr(row).encode("utf-8", "surrogatepass"))
    return Index(run, name, digest.hexdigest(), records=tuple(paths))


def all_kept(records: pa.Table) -> pa.Table:
    """Returns DECISIONS that keep every one of the records, in the group that they have."""
    count = records.num_rows
    columns: dict[str, Any] = {field.name: pa.nulls(count, field.type) for field in DECISIONS}
    group = pc.coalesce(records["group"], records["id"])
    columns |= {"id": records["id"], "kept": pa.array([True] * count, pa.bool_()), "group": group}
    return pa.table([columns[name] for name in DECISIONS.names], schema=DECISIONS)


def kept_groups(index: Index, ids: pa.Array) -> pa.Array:
    """Returns the group of each of the index's rows (`ids`), null where the row was not kept."""
    table = index.run.read_table(index.decisions, columns=["id", "kept", "group"])
    kept = table.filter(table["kept"])
    row = pc.index_in(table["id"], value_set=ids)
    if row.null_count:
        raise IntegrityError(f"{index.run.full(index.decisions)} decides on rows that its band tables lack")
    return kept["group"].take(pc.index_in(ids, value_set=kept["id"].combine_chunks())).combine_chunks()
