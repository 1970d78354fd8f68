"""A run folder of seven rows with a row for every fate, and `jobs.why` as a command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from pipeline import schema
from pipeline.config import Project
from pipeline.curation import golden_rows
from pipeline.dedup.near import DECISIONS
from pipeline.run import Run
from tests.conftest import working as filled

NAME = "Mustermann"
PROJECT = Project.model_validate({"name": "t", "base_model": "o/m"})


def rows() -> list[dict[str, Any]]:
    """Returns what a dump of two sources holds: a row for every fate."""

    def row(source: str, source_id: str, line: int, prompt: str, **more: Any) -> dict[str, Any]:
        found = {"source": source, "source_id": source_id, "path": f"{source}.csv", "line": line, "prompt": prompt}
        return {**found, "response": "an answer", "label": "cards", **more}

    judged = {"lang": "en", "lang_score": 0.9981}
    return [
        row(
            *("zendesk", "101", 2, f"how do I order a card, {NAME}"),
            **judged,
            toxicity=0.031,
            characters=1400,
            removed=[{"kind": "markup", "characters": 20}, {"kind": "quote", "characters": 1300}],
        ),
        row("zendesk", "102", 5, f"how do I order a card, {NAME}"),
        row("zendesk", "103", 9, "how do I order a new card, please", **judged),
        row("zendesk", "104", 12, "où est ma carte", lang="fr", lang_score=0.0123),
        row("zendesk", "105", 15, "you absolute fools", **judged, toxicity=0.987),
        row("freshdesk", "101", 2, "my name is <PERSON>", **judged, pii=["PERSON", "IBAN_CODE", "PERSON"]),
        row("freshdesk", "freshdesk.csv:8", 8, ""),
    ]


def working() -> pa.Table:
    """Returns the rows as the last row stage leaves them."""
    table = filled(rows())
    own = table["source_id"]
    table = schema.mark(table, pc.equal(own, "freshdesk.csv:8"), "read", "unreadable")
    table = schema.mark(table, pc.equal(own, "102"), "exact", "exact_duplicate", twin=table["id"].to_pylist())
    table = schema.mark(table, pc.equal(own, "104"), "language", "language", table["lang_score"].to_pylist(), 0.95)
    return schema.mark(table, pc.equal(own, "105"), "toxicity", "toxicity", table["toxicity"].to_pylist(), 0.9)


def identity(source_id: str, source: str = "zendesk") -> str:
    return next(
        schema.content_id("qa", row["prompt"], row["response"])
        for row in rows()
        if (row["source"], row["source_id"]) == (source, source_id)
    )


def write(folder: Path, upto: str = "curate") -> Run:
    """Writes a run folder as far as a stage, in two parts."""
    run, table = Run.open(str(folder)), working()
    run.write_bytes("config.yaml", yaml.safe_dump(PROJECT.model_dump(mode="json")).encode())
    before = "read"
    for name in ("read", "screen", "toxicity"):
        stage = run.begin(name, f"key of {name}")
        for number, part in enumerate((table.slice(0, 4), table.slice(4))):
            run.put(stage, f"stages/{name}/{number:05d}-00000.parquet", part.sort_by("id"))
        run.commit(stage, inputs=before, rows={"freshdesk": 2, "zendesk": 5})
        before = f"key of {name}"
        if upto == name:
            return run
    keeper, twin, other = identity("101"), identity("103"), identity("101", "freshdesk")
    stage = run.begin("dedup", "key of dedup")
    decisions = [(row, True, None, None, None, row, None) for row in (keeper, other)]
    decisions.append((twin, False, keeper, None, 0.875, keeper, "near_duplicate"))
    columns = zip(*sorted(decisions), strict=True)
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, DECISIONS, strict=True)]
    run.put(stage, "stages/dedup/decisions.parquet", pa.Table.from_arrays(arrays, schema=DECISIONS))
    run.commit(stage, inputs=before, rows={"unmarked": 3})
    if upto != "dedup":
        curate(run, table, {keeper: "train", other: "golden"})
    run.delete("stages/read")
    return run


def curate(run: Run, table: pa.Table, fates: dict[str, str]) -> None:
    stage = run.begin("curate", "key of curate")
    split = pa.table({"id": sorted(fates), "split": [fates[name] for name in sorted(fates)]})
    run.write_table("stages/curate/split.parquet", split)
    live = table.filter(pc.is_null(table["stage"]))
    for name in ("train", "val", "golden"):
        chosen = pa.array([fates.get(row) == name for row in live["id"].to_pylist()])
        run.put(stage, f"data/{name}/part-00000.parquet", live.filter(chosen).select(schema.RECORD.names))
    near = live.filter(pc.invert(pc.is_in(live["id"], value_set=pa.array(list(fates)))))
    near = schema.mark(near, np.array([True]), "dedup", "near_duplicate", [0.875], 0.8)
    rejected = pa.concat_tables([table.filter(pc.is_valid(table["stage"])), near])
    run.put(stage, "rejects/part-00000.parquet", rejected.select(schema.REJECT.names))
    run.put(stage, golden_rows.GOLDEN + "/frozen.parquet", schema.RECORD.empty_table())
    settings = {"language.threshold": 0.94, "quality.too_short": 4, "quality.too_long": None}
    run.put_json(stage, "metrics/curate.json", {"provenance": {"settings": settings}})
    run.commit(stage, inputs=[], rows={})


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `jobs.why`."""
    return subprocess.run([sys.executable, "-m", "jobs.why", *arguments], capture_output=True, text=True, check=False)
