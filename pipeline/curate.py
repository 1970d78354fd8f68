"""The curation recipe: read, exact duplicates, language, personal data, toxicity, near duplicates, split.

Output contract: `data/{train,val,golden}/*.parquet` (RECORD), `rejects/*.parquet` (REJECT), `metrics/curate.json`,
committed as stage `curate`. For every source read = kept + rejected. The same input and configuration give the same
bytes whatever the number of blocks, nodes or interruptions. Once the stage is finished, `stages/read`, the only place
that holds personal data, is deleted.
This module decides the order of things; how each is done is in `read`, `screen`, `dedup` and `split`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipeline import batch, schema
from pipeline.config import Project
from pipeline.progress import Meter
from pipeline.run import Run, code_version, fingerprint, model_version
from pipeline.tally import SPLITS, Tally

SHARD_ROWS = 50_000  # rows per output shard; a shard is assembled in one task's memory
GOLDEN = "data/golden.json"  # ids that stay golden in every later curation of this run folder


@dataclass(frozen=True)
class _Keys:
    """What each stage's output depends on, as one hash each; a stage's key holds those of the stages before it."""

    read: str
    screen: str
    dedup: str
    curate: str


def _keys(project: Project, inputs: Any) -> _Keys:
    settings = project.curate
    read = fingerprint(inputs, settings.read.model_dump(), code_version("read", "schema.py"))
    models = [model_version(name) for name in (settings.language.model, settings.toxicity.model) if name]
    screens = [settings.languages, settings.language.model_dump(), settings.pii.model_dump()]
    toxicity = settings.toxicity.model_dump(exclude={"batch_tokens"})
    screen = fingerprint(read, screens, toxicity, models, code_version("screen", "dedup/exact.py", "batch.py"))
    dedup = fingerprint(screen, settings.dedup.model_dump(), code_version("dedup"))
    split = [settings.split.model_dump(), project.seed]
    return _Keys(read, screen, dedup, fingerprint(dedup, split, code_version("split.py", "tally.py", "curate.py")))


def curate(project: Project, run: Run, inputs: Sequence[str], console: Console) -> dict[str, Any]:
    """Curates what `inputs` hold into the run folder; returns the content of `metrics/curate.json`."""
    from pipeline.read import discover

    found = discover(inputs, project.curate.read)
    if found.ignored:
        console.print(f"  {len(found.ignored)} files of other kinds are not read, the first: {found.ignored[0]}")
    digests = [[file.source, file.path, file.digest] for file in found.files]
    keys = _keys(project, digests)
    if run.manifest("curate", keys.curate) is not None:
        console.print("  finished before: nothing has changed since")
        return dict(run.read_json("metrics/curate.json"))

    def read() -> dict[str, Any]:
        return run.manifest("read", keys.read) or _read(project, run, keys.read, found.files, console)

    screen = run.manifest("screen", keys.screen) or _screen(project, run, keys.screen, read(), console)
    if run.manifest("dedup", keys.dedup) is None:
        _dedup(project, run, keys.dedup, screen, console)
    metrics = _finish(project, run, keys.curate, screen, digests, console)
    run.delete("stages/read")
    return metrics


def _read(project: Project, run: Run, key: str, files: Sequence[Any], console: Console) -> dict[str, Any]:
    """Stage `read`: every row of every file, parsed or marked as unreadable."""
    stage = run.begin("read", key)
    rows = Counter({file.source: 0 for file in files})
    with Meter(console, f"read {len(files):,} files", None) as meter:
        for part in batch.read_parts(run, files, project.curate.read, project.curate.blocks):
            rows.update(run.read_table(part["path"], columns=["source"])["source"].to_pylist())
            run.add(stage, [part["path"]])
            meter.advance(part["rows"])
    return run.commit(stage, inputs=len(files), rows=dict(rows))


def _screen(project: Project, run: Run, key: str, read: dict[str, Any], console: Console) -> dict[str, Any]:
    """Stage `screen`: exact duplicates, language, personal data, toxicity, in one pass over the parts."""
    from pipeline import screen
    from pipeline.dedup.exact import ExactStage, winners
    from pipeline.screen.entities import KnownEntities

    parts = sorted(read["outputs"])
    stage = run.begin("screen", key)
    first = winners(run, parts)
    settings = project.curate
    known = KnownEntities.collect(run.read_table(part, columns=["entities"]) for part in parts)

    def make() -> list[batch.RowStage]:
        return [ExactStage(first), *screen.build(settings, known)]

    with Meter(console, "language, personal data, toxicity", sum(read["rows"].values())) as meter:
        for part in batch.screen_parts(run, parts, "stages/screen", make, settings.blocks):
            run.add(stage, [part["path"]])
            meter.advance(part["rows"])
    return run.commit(stage, inputs=read["key"], rows=read["rows"])


def _dedup(project: Project, run: Run, key: str, screen: dict[str, Any], console: Console) -> None:
    """Stage `dedup`: one decision per row that is still unmarked, in `stages/dedup/decisions.parquet`."""
    from pipeline.dedup.near import deduplicate

    stage = run.begin("dedup", key)
    with Meter(console, "near duplicates", None) as meter:
        found = deduplicate(run, stage, sorted(screen["outputs"]), project.curate.dedup)
        meter.advance(found.decisions.num_rows)
    run.put(stage, "stages/dedup/decisions.parquet", found.decisions)
    run.commit(stage, inputs=screen["key"], rows={"unmarked": found.decisions.num_rows})


def _finish(
    project: Project, run: Run, key: str, screen: dict[str, Any], inputs: Any, console: Console
) -> dict[str, Any]:
    """Stage `curate`: the split, the output shards, the counts."""
    stage = run.begin("curate", key)
    for folder in (*(f"data/{split}" for split in SPLITS), "rejects"):
        run.delete(folder)
    parts = sorted(screen["outputs"])
    _assign(project, run, parts)
    read: dict[str, int] = screen["rows"]
    shards = max(1, -(-sum(read.values()) // SHARD_ROWS))
    total = Tally()
    with Meter(console, "split and write", sum(read.values())) as meter:
        for shard in batch.spread(lambda: _Shards(run, parts, shards, project.curate.dedup.threshold), shards):
            run.add(stage, shard["paths"])
            total.merge(Tally.from_json(shard["tally"]))
            meter.advance(shard["rows"])
    total.check(read)
    metrics = total.metrics(read)
    run.put_json(stage, "metrics/curate.json", metrics)
    run.commit(stage, inputs=inputs, rows=metrics["splits"])
    return metrics


def _assign(project: Project, run: Run, parts: Sequence[str]) -> None:
    """Gives every kept row its split, in `stages/curate/split.parquet`, and freezes the golden ids."""
    from pipeline.split import assign

    decisions = run.read_table("stages/dedup/decisions.parquet", columns=["id", "kept", "group"])
    kept = decisions.filter(decisions["kept"])
    labels = pa.concat_tables([run.read_table(part, columns=["id", "label", "stage"]) for part in parts])
    labels = labels.filter(pc.is_null(labels["stage"]))
    label = labels["label"].take(pc.index_in(kept["id"], value_set=labels["id"].combine_chunks()))
    table = pa.table({"id": kept["id"], "group": kept["group"], "label": label})
    frozen = frozenset(run.read_json(GOLDEN)) if run.exists(GOLDEN) else frozenset()
    split = assign(table, project.curate.split, project.seed, frozen)
    run.write_table("stages/curate/split.parquet", pa.table({"id": kept["id"], "split": split}))
    golden = table["id"].filter(pc.equal(split, "golden")).to_pylist()
    run.write_json(GOLDEN, sorted({*golden, *frozen}))


class _Shards:
    """Assembles output shards. A shard is a range of ids, so it is the same whatever the parts are."""

    def __init__(self, run: Run, parts: Sequence[str], shards: int, threshold: float) -> None:
        self._run, self._parts, self._shards, self._threshold = run, parts, shards, threshold

    def _rows(self, path: str, number: int) -> pa.Table:
        low, high = (f"{(1 << 32) * edge // self._shards:08x}" for edge in (number, number + 1))
        bounds = [("id", ">=", low)] if number + 1 == self._shards else [("id", ">=", low), ("id", "<", high)]
        return self._run.read_table(path, filters=bounds)

    def __call__(self, number: int) -> Iterator[dict[str, Any]]:
        table = pa.concat_tables([self._rows(part, number) for part in self._parts])
        table = table.sort_by([("id", "ascending"), ("path", "ascending"), ("line", "ascending")])
        decisions = self._rows("stages/dedup/decisions.parquet", number)
        table = apply_decisions(table, decisions, self._threshold)
        kept = table.filter(pa.array(schema.unmarked(table)))
        rejected = table.filter(pa.array(~schema.unmarked(table)))
        assigned = self._rows("stages/curate/split.parquet", number)
        split = assigned["split"].take(pc.index_in(kept["id"], value_set=assigned["id"].combine_chunks()))
        tally = Tally()
        tally.add_kept(kept, split)
        tally.add_rejected(rejected)
        outputs = {f"data/{name}": kept.filter(pc.equal(split, name)).select(schema.RECORD.names) for name in SPLITS}
        outputs["rejects"] = rejected.select(schema.REJECT.names)
        paths = [f"{folder}/part-{number:05d}.parquet" for folder in outputs]
        for path, rows in zip(paths, outputs.values(), strict=True):
            self._run.write_table(path, rows)
        yield {"paths": paths, "rows": table.num_rows, "tally": tally.to_json()}


def apply_decisions(table: pa.Table, decisions: pa.Table, threshold: float) -> pa.Table:
    """Writes decisions into WORKING rows: the group of every unmarked row, the mark of those that are not kept."""
    at = pc.index_in(table["id"], value_set=decisions["id"].combine_chunks())
    at = pc.if_else(pa.array(schema.unmarked(table)), at, pa.scalar(None, pa.int32()))
    found = decisions.take(at)
    group = found["group"].combine_chunks()
    table = table.set_column(table.schema.get_field_index("group"), schema.WORKING.field("group"), group)
    twins, empty = (pc.fill_null(pc.equal(found["reason"], name), False) for name in ("near_duplicate", "empty_text"))
    table = schema.mark(
        table,
        twins,
        "dedup",
        "near_duplicate",
        found["jaccard"].to_pylist(),
        threshold,
        found["twin"].to_pylist(),
    )
    return schema.mark(table, empty, "dedup", "empty_text")
