"""Self-instruct: rephrases the questions of training rows with a local model; the answer stays the parent's.

A variant of a conversation is its first exchange: what the customer says next was said to the first question.
Output contract: `data/synthetic/part-00000.parquet` (SYNTHETIC: a RECORD with its model, prompt version and seed),
`rejects/synthetic/part-00000.parquet` (REJECT), `metrics/synthesize.json`, committed as stage `synthesize`. Seeds come
from the training split alone; every variant passes the quality, language, PII and toxicity stages of curation, invents
no number and no placeholder, and keeps ROUGE-L under the threshold against every question of the pool. A variant that
was generated once is not generated again when the job is killed and restarted.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipeline import batch, schema
from pipeline.config import Project
from pipeline.evaluate.text_metrics import words
from pipeline.formats import FORMATS
from pipeline.generation import Sampling
from pipeline.models.generate import complete
from pipeline.models.load import Base, device
from pipeline.progress import Meter
from pipeline.run import Run, Stage, fingerprint
from pipeline.synthesis.novelty import reject_known

SYNTHETIC = pa.schema(
    [
        *schema.RECORD,
        pa.field("model", pa.string()),
        pa.field("prompt_version", pa.string()),
        pa.field("seed", pa.int64()),
    ]
)
FACT = re.compile(r"<[A-Z_]+>|\d+(?:[.,:]\d+)*")  # what a variant may repeat but not invent
BATCH = 32  # questions asked at once, and what an interrupted run finds done
LENGTH_RATIO = (0.4, 2.5)  # words of the variant over words of its parent

Texts = tuple[list[str], list[bool]]  # continuations, and whether each ended by itself


def synthesize(project: Project, run: Run, console: Console) -> dict[str, Any]:
    """Makes up to `variants` rephrasings of `seeds` training questions; returns `metrics/synthesize.json`."""
    curated = run.require("curate")
    settings = project.synthesize
    base = Base.of(project, settings.model)
    screens = project.curate.model_dump(include={"languages", "quality", "language", "pii", "toxicity"})
    parts = (curated["key"], settings.model_dump(), screens, project.seed, base.fingerprint)
    key = fingerprint(*parts, FORMATS["synthesize"])
    if run.manifest("synthesize", key) is not None:
        console.print("  finished before: nothing has changed since")
        return dict(run.read_json("metrics/synthesize.json"))
    seeds = choose(run.read_outputs(curated, "data/train"), project)
    pool = run.read_outputs(curated, "data")["prompt"].to_pylist()
    drafts = _drafts(project, run, key, base, seeds, console)
    stage = run.begin("synthesize", key)
    for folder in ("data/synthetic", "rejects/synthetic"):
        run.delete(folder)
    judged = reject_known(drafts, pool, settings.rouge_l)
    metrics = _write(project, run, stage, base.name, seeds, judged)
    run.commit(stage, inputs=curated["key"], rows={"kept": metrics["kept"]})
    run.delete("stages/drafts")
    return metrics


def choose(rows: pa.Table, project: Project) -> pa.Table:
    """Returns the training rows to rephrase: questions of a fitting length and language, drawn by the project's
    seed."""
    settings = project.synthesize

    def fits(row: dict[str, Any]) -> bool:
        length = len(row["prompt"].split())
        return (
            row["kind"] == "qa"
            and row["lang"] in settings.prompts
            and settings.min_words <= length <= settings.max_words
        )

    fitting = [row for row in rows.to_pylist() if fits(row)]
    fitting.sort(key=lambda row: schema.shuffle_key(project.seed, row["id"]))
    return pa.Table.from_pylist(fitting[: settings.seeds], schema=schema.RECORD)


# -- generating -------------------------------------------------------------------------------------------------------


def _drafts(project: Project, run: Run, key: str, base: Base, seeds: pa.Table, console: Console) -> pa.Table:
    """Generates and screens all variants; parts left by an interrupted run with the same key are taken as they are."""
    settings = project.synthesize
    units = -(-seeds.num_rows // BATCH)
    folder = f"stages/drafts/{key}"
    missing = [number for number in range(units) if not run.exists(f"{folder}/{number:05d}.parquet")]

    def make() -> batch.Work:
        generate, stages = _generator(project, base), _screens(project, run)

        def work(position: int) -> Iterator[batch.Summary]:
            number = missing[position]
            rows = seeds.slice(number * BATCH, BATCH).to_pylist()
            notes: list[str] = []
            table = draft(project, rows, generate(rows, notes.append))
            for stage in stages:
                table = stage(table)
            run.write_table(f"{folder}/{number:05d}.parquet", table)
            yield {"rows": table.num_rows, "note": " ".join(notes)}

        return work

    notes = set()
    with Meter(console, f"rephrase {seeds.num_rows:,} questions", seeds.num_rows * settings.variants) as meter:
        if missing:
            for done in batch.spread(make, len(missing), on_gpu=True):
                meter.advance(done["rows"])
                notes.add(done["note"])
    for note in sorted(notes - {""}):
        console.print(f"  {note}", markup=False)
    parts = [run.read_table(f"{folder}/{number:05d}.parquet") for number in range(units)]
    return pa.concat_tables([schema.WORKING.empty_table(), *parts])


def _screens(project: Project, run: Run) -> Sequence[batch.RowStage]:
    from pipeline import screen
    from pipeline.screen.pii.entities import KnownEntities
    from pipeline.screen.pii.pseudonyms import key_of
    from pipeline.screen.toxicity.score import ToxicityStage

    key = key_of(project.curate.pii, run)
    return [*screen.build(project.curate, KnownEntities(), key), ToxicityStage(project.curate.toxicity)]


def _generator(project: Project, base: Base) -> Callable[[list[dict[str, Any]], Callable[[str], None]], Texts]:
    """Returns a function from rows to `variants` continuations per row, in row order, and one that takes a sentence."""
    settings = project.synthesize
    model, tokenizer = base.load(device=device())

    def generate(rows: list[dict[str, Any]], tell: Callable[[str], None]) -> Texts:
        asked = [settings.prompts[row["lang"]].format(question=row["prompt"]) for row in rows]
        asked = [text for text in asked for _ in range(settings.variants)]
        seeds = [seed_of(project.seed, row["id"], variant) for row in rows for variant in range(settings.variants)]
        sampling = Sampling(settings.temperature, settings.top_p, seeds) if settings.temperature else None
        return complete(model, tokenizer, asked, settings.max_new_tokens, sampling, tell)

    return generate


def seed_of(seed: int, parent: str, variant: int) -> int:
    """Returns the seed of one variant: a number of 63 bits, whatever else is asked with it."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{parent}:{variant}".encode(), digest_size=8).digest()) >> 1


def draft(project: Project, parents: list[dict[str, Any]], texts: Texts) -> pa.Table:
    """Returns WORKING rows, `variants` per parent; what is no usable rephrasing is marked."""
    rows, reasons = [], []
    for position, (text, ended) in enumerate(zip(*texts, strict=True)):
        parent = parents[position // project.synthesize.variants]
        text = text.strip()
        reasons.append(fault(parent["prompt"], text, ended))
        variant = {
            "id": schema.content_id(parent["kind"], text, parent["response"]),
            "prompt": text,
            "later": [],
            "origin": "synthetic",
            "parent_id": parent["id"],
            "path": parent["id"],
            "line": position % project.synthesize.variants + 1,
            "entities": [],
            "pii": [],
        }
        rows.append({**parent, **variant})
    table = pa.Table.from_pylist(rows, schema=schema.WORKING)
    for reason in sorted({reason for reason in reasons if reason}):
        table = schema.mark(table, np.array([reason == row_reason for row_reason in reasons]), "synthesize", reason)
    return table


def fault(parent: str, text: str, ended: bool) -> str | None:
    """Returns why a text is no rephrasing of its parent, None when it may be one."""
    if not words(text):
        return "empty"
    if not ended:
        return "unfinished"
    if set(FACT.findall(text)) - set(FACT.findall(parent)):
        return "invented_fact"
    ratio = len(words(text)) / max(1, len(words(parent)))
    return None if LENGTH_RATIO[0] <= ratio <= LENGTH_RATIO[1] else "length"


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(project: Project, run: Run, stage: Stage, model: str, seeds: pa.Table, judged: pa.Table) -> dict[str, Any]:
    settings = project.synthesize
    judged = judged.sort_by([("id", "ascending"), ("path", "ascending"), ("line", "ascending")])
    kept = judged.filter(pa.array(schema.unmarked(judged)))
    rejected = judged.filter(pa.array(~schema.unmarked(judged)))
    version = hashlib.sha256(repr(sorted(settings.prompts.items())).encode()).hexdigest()[:12]
    provenance = {"model": model, "prompt_version": version, "seed": project.seed}
    table = kept.select(schema.RECORD.names)
    for name, value in provenance.items():
        table = table.append_column(
            SYNTHETIC.field(name), pa.array([value] * kept.num_rows, SYNTHETIC.field(name).type)
        )
    run.put(stage, "data/synthetic/part-00000.parquet", table.cast(SYNTHETIC))
    run.put(stage, "rejects/synthetic/part-00000.parquet", rejected.select(schema.REJECT.names))
    parents = dict(zip(seeds["id"].to_pylist(), seeds["prompt"].to_pylist(), strict=True))
    reasons = Counter(rejected["reason"].to_pylist())
    metrics = {
        "seeds": seeds.num_rows,
        "generated": judged.num_rows,
        "kept": kept.num_rows,
        "rejected": dict(sorted(reasons.items())),
        "model": model,
        "languages": dict(sorted(Counter(pc.fill_null(kept["lang"], "unknown").to_pylist()).items())),
        "samples": [
            {"parent": parents[row["parent_id"]], "variant": row["prompt"]} for row in kept.slice(0, 12).to_pylist()
        ],
    }
    run.put_json(stage, "metrics/synthesize.json", metrics)
    return metrics
