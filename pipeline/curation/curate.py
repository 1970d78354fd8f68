"""The curation recipe: read, exact duplicates, language, personal data, toxicity, near duplicates, split.

Five stages, each with its manifest: `read` (parts of WORKING rows), `screen` (exact duplicates, language, personal
data), `toxicity` (the parts again, with more marks), `dedup` (one decision per row), `curate` (split, shards, counts).
Output contract: `data/{train,val,golden}/*.parquet` (RECORD), `rejects/*.parquet` (REJECT), `metrics/curate.json` and
the data card `data/README.md`, committed as stage `curate`. For every source read = kept + rejected. The same input and
configuration give the same bytes whatever the number of blocks, nodes or interruptions. Once the stage is finished,
`stages/read`, the only place that holds personal data, is deleted.
This module decides the order of things (`STAGES`); how each is done is in `read`, `screen`, `dedup`, `split` and
`assemble`.
"""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipeline import batch, screen
from pipeline.config import Project
from pipeline.curation import assemble, data_card, findings, golden_rows, parts
from pipeline.curation.counts import SPLITS, Counts
from pipeline.dedup import index
from pipeline.dedup.exact import ExactStage, winners
from pipeline.dedup.near import deduplicate
from pipeline.formats import FORMATS
from pipeline.model_fingerprint import model_fingerprint
from pipeline.progress import Meter
from pipeline.read import Discovery, discover
from pipeline.read.inputs.left_out import summary
from pipeline.run import Run, Stage, fingerprint
from pipeline.screen.pii import leak_audit
from pipeline.screen.pii.entities import KnownEntities
from pipeline.screen.pii.pseudonyms import key_of
from pipeline.screen.quality.shared_answers import shared_answers
from pipeline.screen.toxicity.stage import run_toxicity

CARD = "data/README.md"
METRICS = "metrics/curate.json"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Earlier:
    """What earlier curations say: rows that are golden (RECORD), and all that must not be repeated, golden first."""

    golden: pa.Table
    rows: Sequence[index.Index]

    @classmethod
    def of(cls, project: Project, run: Run, runs: Sequence[Run]) -> Earlier:
        """Returns what this run folder's earlier curations and other runs say."""
        indices = [index.of_run(other, project.curate.dedup) for other in runs]
        return cls(golden_rows.frozen(run, runs), [*golden_rows.indices(run, runs), *indices])


@dataclass(frozen=True)
class Curation:
    """What every stage works with; `secret` is the key of pseudonyms, None where there are none."""

    project: Project
    run: Run
    found: Discovery
    earlier: Earlier
    secret: bytes | None
    console: Console


def curate(
    project: Project, run: Run, inputs: Sequence[str], console: Console, earlier: Sequence[Run] = ()
) -> dict[str, Any]:
    """Curates what `inputs` hold into the run folder; returns the content of `metrics/curate.json`.

    Rows that the `earlier` runs kept are not kept again, and what was golden there is golden here.
    """
    found = discover(inputs, project.curate.read)
    for sentence in findings.left_out(summary(found.left_out)):
        console.print(f"  {sentence}", markup=False)
    secret = key_of(project.curate.pii, run)
    job = Curation(project, run, found, Earlier.of(project, run, earlier), secret, console)
    key = keys(job)
    if run.manifest("curate", key["curate"]) is None:
        if golden_rows.freeze(run):
            job = replace(job, earlier=Earlier.of(project, run, earlier))
            key = keys(job)
        manifests = unfinished(run, key)
        for name, stage in STAGES.items():
            if manifests[name] is None:
                manifests[name] = stage.do(job, run.begin(name, key[name]), *(manifests[need] for need in stage.needs))
    else:
        console.print("  finished before: nothing has changed since")
    run.delete("stages/read")  # the only place that holds personal data; a job killed at its very end leaves it
    return dict(run.read_json(METRICS))


def keys(job: Curation) -> dict[str, str]:
    """Returns what each stage's output depends on, as one hash each; a key holds those of the stages before it."""
    settings, earlier = job.project.curate, job.earlier
    inputs = [[file.source, file.path, file.digest] for file in job.found.files]
    left_out = [[file.path, file.why] for file in job.found.left_out]  # metrics and card name them
    screens = [settings.languages, *(part.model_dump() for part in (settings.quality, settings.language, settings.pii))]
    models = [model_fingerprint(name) for name in (settings.language.model, *settings.pii.ner.values()) if name]
    tags = None if job.secret is None else hashlib.sha256(job.secret).hexdigest()
    split = [settings.split.model_dump(), job.project.seed, earlier.golden["id"].to_pylist()]
    depends: dict[str, list[Any]] = {
        "read": [inputs, settings.read.model_dump()],
        "screen": [screens, models, tags],
        "toxicity": [settings.toxicity.model_dump(), model_fingerprint(settings.toxicity.model)],
        "dedup": [settings.dedup.model_dump(), [one.fingerprint for one in earlier.rows]],
        "curate": [*split, job.project.name, settings.licences, left_out],
    }
    chain: dict[str, str] = {}
    for stage, parts_of_key in depends.items():
        chain[stage] = fingerprint(list(chain.values())[-1:], parts_of_key, FORMATS[stage])
    return chain


def unfinished(run: Run, key: Mapping[str, str]) -> dict[str, Manifest | None]:
    """Returns the manifest of each stage; None for one to be run: not finished, and needed by one that is not."""
    manifests = {name: run.manifest(name, key[name]) for name in STAGES}
    needed = {"curate"}
    for name, stage in reversed(STAGES.items()):
        if name in needed and manifests[name] is None:
            needed.update(stage.needs)
    return {name: manifest if name in needed else manifest or {} for name, manifest in manifests.items()}


def _read(job: Curation, stage: Stage) -> Manifest:
    """Reads every row of every file, parsed or marked as unreadable, into parts."""
    rows = Counter({file.source: 0 for file in job.found.files})
    with Meter(job.console, f"read {len(job.found.files):,} files", None) as meter:
        for part in parts.read_parts(job.run, job.found.files, job.project.curate.read):
            rows.update(job.run.read_table(part["path"], columns=["source"])["source"].to_pylist())
            job.run.add(stage, [part["path"]])
            meter.advance(part["rows"])
    return job.run.commit(stage, inputs=len(job.found.files), rows=dict(rows))


def _screen(job: Curation, stage: Stage, read: Manifest) -> Manifest:
    """Marks exact duplicates, quality, language and personal data in one pass; audits leaks."""
    run, settings, secret = job.run, job.project.curate, job.secret  # a console cannot go along to the workers
    paths = sorted(read["outputs"])
    first = winners(run, paths)
    limit = settings.quality.shared_answer
    shared = None if limit is None else shared_answers(run, paths, limit)
    known = KnownEntities.union(batch.each(_known_entities, [(run, path) for path in paths]))

    def make() -> list[batch.RowStage]:
        return [ExactStage(first), *screen.build(settings, known, secret, shared)]

    with Meter(job.console, "quality, language, personal data", sum(read["rows"].values())) as meter:
        for part in batch.spread(parts.screening(run, paths, "stages/screen", make), len(paths)):
            run.add(stage, [part["path"]])
            meter.advance(part["rows"])
    (leaks,) = batch.each(_leaks, [(run, sorted(stage.outputs), job.project, known)])
    return run.commit(stage, inputs=read["key"], rows=read["rows"], report={"leaks": leaks})


def _known_entities(run: Run, path: str) -> KnownEntities:
    """Returns the known entities of one part."""
    return KnownEntities.collect([run.read_table(path, columns=["entities"])])


def _leaks(run: Run, paths: Sequence[str], project: Project, known: KnownEntities) -> dict[str, Any]:
    """Reads a sample of the rows that no screen has rejected again, by the strict pass of `leak_audit`."""
    tables = (run.read_table(path, columns=[*leak_audit.COLUMNS, "stage"]) for path in paths)
    kept = (table.filter(pc.is_null(table["stage"])) for table in tables)
    with screen.light(project.curate):
        return leak_audit.audit(kept, project.curate.pii, project.curate.languages, known)


def _toxicity(job: Curation, stage: Stage, screened: Manifest) -> Manifest:
    """Marks toxic rows with Detoxify. Where that is skipped, the outputs are the parts of `screen`."""
    paths, report = sorted(screened["outputs"]), {}

    def meter(title: str) -> Meter:
        return Meter(job.console, title, sum(screened["rows"].values()))

    if job.project.curate.toxicity.skip:
        job.run.add(stage, paths)
    else:
        report = run_toxicity(job.run, stage, paths, job.project.curate.toxicity, meter)
    return job.run.commit(stage, inputs=screened["key"], rows=screened["rows"], report=report)


def _dedup(job: Curation, stage: Stage, judged: Manifest) -> Manifest:
    """Takes one decision per row that is still unmarked: `stages/dedup/decisions.parquet`."""
    with Meter(job.console, "near duplicates", None) as meter:
        result = deduplicate(job.run, stage, sorted(judged["outputs"]), job.project.curate.dedup, job.earlier.rows)
        meter.advance(result.decisions.num_rows)
    decisions = golden_rows.found_again(result.decisions, job.earlier.golden["id"])
    job.run.put(stage, assemble.DECISIONS, decisions)
    return job.run.commit(stage, inputs=judged["key"], rows={"unmarked": decisions.num_rows}, report=result.report)


def _finish(job: Curation, stage: Stage, screened: Manifest, judged: Manifest, deduplicated: Manifest) -> Manifest:
    """Splits, writes the output shards, the counts and the data card."""
    run, frozen, paths = job.run, job.earlier.golden, sorted(judged["outputs"])
    for folder in (*(f"data/{split}" for split in SPLITS), "rejects"):
        run.delete(folder)
    fates, split = assemble.decided(job.project, run, paths, frozen)
    carried = frozen.filter(pc.invert(pc.is_in(frozen["id"], value_set=fates.filter(fates["kept"])["id"])))
    run.put(stage, golden_rows.CARRIED, carried)
    fates = batch.shared(fates)  # for the tasks, and no longer held here
    total = Counts()
    with Meter(job.console, "split and write", sum(judged["rows"].values())) as meter:
        for shard in assemble.shards(run, paths, fates, job.project.curate.dedup.threshold):
            run.add(stage, shard["paths"])
            total.merge(pickle.loads(shard["counts"]))
            meter.advance(shard["rows"])
    total.check(judged["rows"])
    metrics = total.metrics(judged["rows"]) | screened["report"]
    reports = {"toxicity": judged["report"], "dedup": deduplicated["report"]}
    metrics |= {name: report for name, report in reports.items() if report}
    metrics["split"] = {**split, "carried": carried.num_rows}
    metrics["splits"]["golden"] += carried.num_rows
    metrics["left_out"] = summary(job.found.left_out)
    metrics["provenance"] = data_card.provenance(job.project, job.found.files)
    run.put_json(stage, METRICS, metrics)
    run.write_bytes(CARD, data_card.render(job.project.name, metrics).encode())
    run.add(stage, [CARD])
    return run.commit(stage, inputs=metrics["provenance"]["inputs"], rows=metrics["splits"])


class _Step(NamedTuple):
    do: Callable[..., Manifest]  # (the curation, the stage, the manifest of each stage it needs) -> its manifest
    needs: tuple[str, ...]


STAGES = {
    "read": _Step(_read, ()),
    "screen": _Step(_screen, ("read",)),
    "toxicity": _Step(_toxicity, ("screen",)),
    "dedup": _Step(_dedup, ("toxicity",)),
    "curate": _Step(_finish, ("screen", "toxicity", "dedup")),
}
"""In this order. A finished stage is not run again, and neither is one that only finished stages need."""
