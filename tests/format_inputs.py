"""The small fixed input of `tests.formats`: a dump for curation, and what the later stages start from."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.config import Project
from pipeline.run import Run

PART_ROWS = 40  # of the small curation: several parts
ASSETS = Path(__file__).parent.parent / "assets"
ODD = Path(__file__).with_name("format_rows.jsonl")  # what the sample's own rows have no case of
PAGE = """---
title: Refunds
---
# Refund is late

## Issue
The refund has not arrived after *seven* days.

## Solution
1. Open the [app](https://example.org).
2. Tap `Refunds`.

| fee | days |
|-----|------|
| 0 € | 3    |

## Background
Banks settle once a day. <Note>Not on Sundays.</Note>
"""
MAILS = (  # what is cut out of a customer's mail
    "My card is gone.\n\nSent from my iPhone",
    "Please block it.\n\n-----Original Message-----\nFrom: Bank\nSent: Monday\nTo: me\n\nHow may we help?",
    "It works again.\n\nOn Mon, 3 Mar 2026 at 10:00, Support <s@example.org> wrote:\n> Try again\n> please",
    "Where is it?\n\nThis e-mail and its contents are confidential and intended only for the addressee.",
    "Bitte prüfen.\n\nMit freundlichen Grüßen\nPetra Lindner\nTel. +49 30 1234567\nwww.example.org",
    "Wann kommt sie?\n\nBeispiel GmbH, Sitz der Gesellschaft: Berlin, Amtsgericht Berlin HRB 1234, Vorstand: A. Weiß",
    "Why is that so?\n\n--\nJo Doe\nExample Ltd",
    "Hi <b>team</b>,<br>the fee of 5&nbsp;€ &amp; more is wrong.\r\n\r\n\r\n\r\nRegards",
)
COLUMNS = {"prompt": "q", "response": "a", "names": ["who"], "emails": ["mail"], "label": "topic", "created_at": "at"}


def project(**curation: Any) -> Project:
    """Returns the settings of the small curation."""
    tables = [{"match": "odd*", "columns": COLUMNS}]
    settings = {
        "read": {"tables": tables},
        "toxicity": {"model": str(ASSETS / "toxicity-small")},
        **curation,
    }
    return Project.model_validate({"name": "t", "base_model": "o/m", "seed": 3, "curate": settings})


def dump(folder: Path) -> Path:
    """Fills the folder with 160 tickets of the sample, every tenth twice, its English pages and the odd rows."""
    with (ASSETS / "sample" / "dump" / "zendesk.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(line for line in stream if "\0" not in line))
    tickets = [row for row in rows[1:] if len(row) == len(rows[0])][:160]
    copies = [[row[0], "9" + row[1], *row[2:]] for row in tickets[::10]]
    sink = io.StringIO()
    csv.writer(sink).writerows([rows[0], *tickets, *copies])
    (folder / "zendesk.csv").write_text(sink.getvalue(), encoding="utf-8")
    (folder / "pages").mkdir()
    for page in sorted((ASSETS / "sample" / "dump" / "pages" / "en").glob("*.md"))[:5]:
        (folder / "pages" / page.name).write_bytes(page.read_bytes())
    (folder / "odd.jsonl").write_bytes(ODD.read_bytes())
    return folder


def every_kind(folder: Path) -> Path:
    """Fills the folder with a file of every other kind that is read."""
    folder.mkdir()
    rows = [json.loads(line) for line in ODD.read_bytes().splitlines()]
    pq.write_table(pa.Table.from_pylist(rows[:9]), folder / "odd.parquet")
    with (folder / "odd-2.tsv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    (folder / "base.md").write_text(PAGE, encoding="utf-8")
    (folder / "page.mdx").write_text("import X from './x'\n\n" + PAGE.replace("Refund", "Return"), encoding="utf-8")
    tickets = [{"Id": str(at), "Subject": f"Mail {at}", "Description": text, "Latest public comment": text, "Requester":
                "Jo Doe", "Assignee": "Anna Weiß"} for at, text in enumerate(MAILS)]  # fmt: skip
    with (folder / "mails.csv").open("w", encoding="utf-8", newline="") as stream:
        mails = csv.DictWriter(stream, list(tickets[0]))
        mails.writeheader()
        mails.writerows(tickets)
    head, *lines = (ASSETS / "sample" / "dump" / "freshdesk.csv").read_bytes().split(b"\n")[:400]
    (folder / "freshdesk.csv").write_bytes(b"\n".join([head, *lines]))
    return folder


# -- what the later stages start from ---------------------------------------------------------------------------------


def records() -> list[dict[str, Any]]:
    """Returns 36 RECORD rows of the sample's tickets, of two languages, every ninth a document."""
    with (ASSETS / "sample" / "dump" / "zendesk.csv").open(encoding="utf-8", newline="") as stream:
        tickets = list(csv.DictReader(line for line in stream if "\0" not in line))
    rows: list[dict[str, Any]] = []
    for ticket in tickets:
        asked, answer = ticket["Description"], ticket["Latest public comment"]
        if not asked or not answer or len(asked) > 120 or len(answer) > 500:
            continue
        page = len(rows) % 9 == 4
        rows.append(
            {
                "id": f"{len(rows):032x}",
                "source": "tickets",
                "source_id": ticket["Id"],
                "kind": "document" if page else "qa",
                "prompt": ticket["Subject"] if page else asked,
                "response": answer,
                "later": [],
                "label": ticket["Topic [list]"] or None,
                "lang": ticket["Tags"][-2:],
                "origin": "real",
            }
        )
        if len(rows) == 36:
            break
    return rows


def curated(place: Path) -> Run:
    """Makes a run folder as `curate` leaves it: 24 training rows, 4 of validation, 8 golden ones."""
    run, rows = Run.open(str(place)), records()
    stage = run.begin("curate", "curate-key")
    for split, part in (("train", rows[:24]), ("val", rows[24:28]), ("golden", rows[28:])):
        table = pa.Table.from_pylist(part, schema=schema.RECORD)
        run.put(stage, f"data/{split}/00000.parquet", table)
    counts = {"train": 24, "val": 4, "golden": 8}
    sources = {"tickets": {"read": 40, "kept": 36, "rejected": {"language": 4}}}
    run.put_json(stage, "metrics/curate.json", {"sources": sources, "splits": counts})
    run.commit(stage, {}, counts)
    return run


def put_adapter(run: Run, model_project: Project) -> None:
    """Writes an adapter of numbers with few bits, whose product is exact in float32 whatever the order of its sums,
    and commits the stage `train`."""
    import torch

    from pipeline.models import load
    from pipeline.train import qlora

    causal, tokenizer = load.Base.of(model_project).load()
    adapted = qlora.add_adapter(causal, model_project)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                whole = torch.arange(parameter.numel()).reshape(parameter.shape) * 7919 % 31 - 15
                parameter.copy_(whole / (64 if "lora_A" in name else 4096))
    qlora._write_adapter(run.local(load.ADAPTER), adapted, tokenizer)
    stage = run.begin("train", "train-key")
    run.put_json(stage, qlora.METRICS, {"examples": 24, "supervised_tokens": 999, "steps": [{}], "device": "CPU"})
    run.commit(stage, {}, {})
