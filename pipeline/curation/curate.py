"""The curation recipe: read, exact duplicates, language, personal data, toxicity, near duplicates, split.

Five stages, each with its manifest: `read` (parts of WORKING rows), `screen` (exact duplicates, language, personal
data), `toxicity` (the parts again, with more marks), `dedup` (one decision per row), `curate` (split, shards, counts).
Output contract: `data/{train,val,golden}/*.parquet` (RECORD), `rejects/*.parquet` (REJECT), `metrics/curate.json` and
the data card `data/README.md`, committed as stage `curate`. For every source read = kept + rejected. The same input and
configuration give the same bytes whatever the number of blocks, nodes or interruptions. Once the stage is finished,
`stages/read`, the only place that holds personal data, is deleted.
This module decides the order of things; how each is done is in `read`, `screen`, `dedup`, `split`
and `assemble`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipeline import batch
from pipeline.config import Project
from pipeline.curation import assemble, data_card
from pipeline.curation import golden_rows as golden
from pipeline.curation.counts import SPLITS, Tally
from pipeline.dedup import index
from pipeline.formats import FORMATS
from pipeline.model_fingerprint import model_fingerprint
from pipeline.progress import Meter
from pipeline.run import Run, fingerprint

CARD = "data/README.md"


@dataclass(frozen=True)
class _Keys:
    """What each stage's output depends on, as one hash each; a stage's key holds those of the stages before it."""

    read: str
    screen: str
    toxicity: str
    dedup: str
    curate: str


@dataclass(frozen=True)
class _Before:
    """What earlier curations say: rows that are golden (RECORD), and all that must not be repeated, golden first."""

    golden: pa.Table
    rows: Sequence[index.Index]

    @classmethod
    def of(cls, project: Project, run: Run, earlier: Sequence[Run]) -> _Before:
        known = [index.of_run(other, project.curate.dedup) for other in earlier]
        return cls(golden.frozen(run, earlier), [*golden.indices(run, earlier), *known])


def _keys(project: Project, inputs: Any, before: _Before, secret: bytes | None) -> _Keys:
    settings = project.curate
    read = fingerprint(inputs, settings.read.model_dump(), FORMATS["read"])
    screens = [settings.languages, *(part.model_dump() for part in (settings.quality, settings.language, settings.pii))]
    models = [model_fingerprint(name) for name in (settings.language.model, *settings.pii.ner.values()) if name]
    tags = None if secret is None else hashlib.sha256(secret).hexdigest()
    screen = fingerprint(read, screens, models, tags, FORMATS["screen"])
    toxicity = fingerprint(
        screen, settings.toxicity.model_dump(), [model_fingerprint(settings.toxicity.model)], FORMATS["toxicity"]
    )
    earlier = [known.fingerprint for known in before.rows]
    dedup = fingerprint(toxicity, settings.dedup.model_dump(), earlier, FORMATS["dedup"])
    split = [settings.split.model_dump(), project.seed, before.golden["id"].to_pylist()]
    split += [project.name, settings.licences]
    curate = fingerprint(dedup, split, FORMATS["curate"])
    return _Keys(read, screen, toxicity, dedup, curate)


def curate(
    project: Project, run: Run, inputs: Sequence[str], console: Console, earlier: Sequence[Run] = ()
) -> dict[str, Any]:
    """Curates what `inputs` hold into the run folder; returns the content of `metrics/curate.json`.

    Rows that the `earlier` runs kept are not kept again, and what was golden there is golden here.
    """
    from pipeline.read import discover
    from pipeline.screen.pii.pseudonyms import key_of

    found = discover(inputs, project.curate.read)
    if found.ignored:
        console.print(f"  {len(found.ignored)} files of other kinds are not read, the first: {found.ignored[0]}")
    digests = [[file.source, file.path, file.digest] for file in found.files]
    secret = key_of(project.curate.pii, run)
    if run.manifest("curate", _keys(project, digests, _Before.of(project, run, earlier), secret).curate) is not None:
        console.print("  finished before: nothing has changed since")
        run.delete("stages/read")  # a job killed at its very end leaves it
        return dict(run.read_json("metrics/curate.json"))
    golden.freeze(run)
    before = _Before.of(project, run, earlier)
    keys = _keys(project, digests, before, secret)

    def read() -> dict[str, Any]:
        return run.manifest("read", keys.read) or _read(project, run, keys.read, found.files, console)

    def screen() -> dict[str, Any]:
        return run.manifest("screen", keys.screen) or _screen(project, run, keys.screen, read(), secret, console)

    toxicity = run.manifest("toxicity", keys.toxicity) or _toxicity(project, run, keys.toxicity, screen(), console)
    dedup = run.manifest("dedup", keys.dedup) or _dedup(project, run, keys.dedup, toxicity, before, console)
    made = data_card.provenance(project, found.files)
    metrics = _finish(project, run, keys.curate, [screen(), toxicity, dedup], before.golden, made, console)
    run.delete("stages/read")
    return metrics


def _read(project: Project, run: Run, key: str, files: Sequence[Any], console: Console) -> dict[str, Any]:
    """Stage `read`: every row of every file, parsed or marked as unreadable."""
    stage = run.begin("read", key)
    rows = Counter({file.source: 0 for file in files})
    with Meter(console, f"read {len(files):,} files", None) as meter:
        for part in batch.read_parts(run, files, project.curate.read):
            rows.update(run.read_table(part["path"], columns=["source"])["source"].to_pylist())
            run.add(stage, [part["path"]])
            meter.advance(part["rows"])
    return run.commit(stage, inputs=len(files), rows=dict(rows))


def _screen(
    project: Project, run: Run, key: str, read: dict[str, Any], secret: bytes | None, console: Console
) -> dict[str, Any]:
    """Stage `screen`: exact duplicates, quality, language, personal data, in one pass; the leak audit."""
    from pipeline import screen
    from pipeline.dedup.exact import ExactStage, winners
    from pipeline.dedup.tasks import each
    from pipeline.screen.pii.entities import KnownEntities
    from pipeline.screen.quality.shared_answers import shared_answers

    parts = sorted(read["outputs"])
    stage = run.begin("screen", key)
    first = winners(run, parts)
    settings = project.curate
    limit = settings.quality.shared_answer
    shared = None if limit is None else shared_answers(run, parts, limit)
    known = KnownEntities.union(each(_known, [(run, part) for part in parts]))

    def make() -> list[batch.RowStage]:
        return [ExactStage(first), *screen.build(settings, known, secret, shared)]

    with Meter(console, "quality, language, personal data", sum(read["rows"].values())) as meter:
        for part in batch.screen_parts(run, parts, "stages/screen", make):
            run.add(stage, [part["path"]])
            meter.advance(part["rows"])
    (leaks,) = each(_leaks, [(run, sorted(stage.outputs), project, known)])
    return run.commit(stage, inputs=read["key"], rows=read["rows"], report={"leaks": leaks})


def _known(run: Run, part: str) -> Any:
    """Returns the known entities of one part."""
    from pipeline.screen.pii.entities import KnownEntities

    return KnownEntities.collect([run.read_table(part, columns=["entities"])])


def _leaks(run: Run, parts: Sequence[str], project: Project, known: Any) -> dict[str, Any]:
    """Reads a sample of the rows that no screen has rejected again, by the strict pass of `screen.leaks`."""
    from pipeline.screen import light
    from pipeline.screen.pii import leak_audit as leaks

    tables = (run.read_table(part, columns=[*leaks.COLUMNS, "stage"]) for part in parts)
    kept = (table.filter(pc.is_null(table["stage"])) for table in tables)
    with light(project.curate):
        return leaks.audit(kept, project.curate.pii, project.curate.languages, known)


def _toxicity(project: Project, run: Run, key: str, screen: dict[str, Any], console: Console) -> dict[str, Any]:
    """Stage `toxicity`: Detoxify in a pool of actors of its own. Where it is to be skipped, its outputs are the parts
    of `screen`."""
    from pipeline.screen.toxicity.stage import moderate

    def meter(title: str) -> Meter:
        return Meter(console, title, sum(screen["rows"].values()))

    parts, report = sorted(screen["outputs"]), {}
    stage = run.begin("toxicity", key)
    if project.curate.toxicity.skip:
        run.add(stage, parts)
    else:
        report = moderate(run, stage, parts, project.curate.toxicity, meter)
    return run.commit(stage, inputs=screen["key"], rows=screen["rows"], report=report)


def _dedup(
    project: Project, run: Run, key: str, toxicity: dict[str, Any], before: _Before, console: Console
) -> dict[str, Any]:
    """Stage `dedup`: one decision per row that is still unmarked, in `stages/dedup/decisions.parquet`."""
    from pipeline.dedup.near import deduplicate

    stage = run.begin("dedup", key)
    with Meter(console, "near duplicates", None) as meter:
        found = deduplicate(run, stage, sorted(toxicity["outputs"]), project.curate.dedup, before.rows)
        meter.advance(found.decisions.num_rows)
    decisions = golden.found_again(found.decisions, before.golden["id"])
    run.put(stage, assemble.DECISIONS, decisions)
    rows = {"unmarked": decisions.num_rows}
    return run.commit(stage, inputs=toxicity["key"], rows=rows, report=found.report)


def _finish(
    project: Project,
    run: Run,
    key: str,
    finished: Sequence[dict[str, Any]],
    frozen: pa.Table,
    made: dict[str, Any],
    console: Console,
) -> dict[str, Any]:
    """Stage `curate`: the split, the output shards, the counts, the data card. `finished`: manifests of `screen`,
    `toxicity` and `dedup`."""
    import ray

    stage = run.begin("curate", key)
    for folder in (*(f"data/{split}" for split in SPLITS), "rejects"):
        run.delete(folder)
    screen, toxicity, dedup = finished
    named = {"toxicity": toxicity, "dedup": dedup}
    parts = sorted(toxicity["outputs"])
    fates, split = assemble.decided(project, run, parts, frozen)
    carried = frozen.filter(pc.invert(pc.is_in(frozen["id"], value_set=fates.filter(fates["kept"])["id"])))
    run.put(stage, golden.CARRIED, carried)
    fates = ray.put(fates)  # for the tasks, and no longer held here
    read: dict[str, int] = toxicity["rows"]
    total = Tally()
    with Meter(console, "split and write", sum(read.values())) as meter:
        for shard in assemble.shards(run, parts, fates, project.curate.dedup.threshold):
            run.add(stage, shard["paths"])
            total.merge(Tally.from_json(shard["tally"]))
            meter.advance(shard["rows"])
    total.check(read)
    metrics = total.metrics(read)
    metrics |= screen["report"] | {name: manifest["report"] for name, manifest in named.items() if manifest["report"]}
    metrics["split"] = {**split, "carried": carried.num_rows}
    metrics["splits"]["golden"] += carried.num_rows
    metrics["provenance"] = made
    run.put_json(stage, "metrics/curate.json", metrics)
    run.write_bytes(CARD, data_card.render(project.name, metrics).encode())
    run.add(stage, [CARD])
    run.commit(stage, inputs=made["inputs"], rows=metrics["splits"])
    return metrics
