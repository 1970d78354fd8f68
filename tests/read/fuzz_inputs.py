"""Damaged archives, workbooks, JSON documents, pages and mails by the thousand.

Run: `python -m tests.read.fuzz_inputs --files 10000 --seed 1`. Output contract: prints how many files were refused with
a `UserError` and how many rows came out; the seed of each that breaks a rule is printed, and the exit status is 1.

The rules: only a `UserError` is raised; reading again, into parts of one row, gives the same rows; an undamaged file is
read, and every row that was put into a table comes out.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config import Columns, Read, TableSource
from pipeline.errors import UserError
from pipeline.read import discover
from tests.read import excel
from tests.read.fuzz import Made, mutate, rows, text

SETTINGS = Read(tables=(TableSource(match="*", columns=Columns(prompt="question", response="answer")),))
MAILS = b"".join(
    b"From x@c.example Mon Jan  5 09:00:00 2026\n"
    b"From: %s\nTo: %s\nMessage-ID: <%d@c>\nReferences: <%d@c>\n\ntext %d\n\n"
    % (*((b"a@c.example", b"b@d.example") if n % 2 else (b"b@d.example", b"a@c.example")), n, n - n % 2, n)
    for n in range(6)
)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
CONTROL = {ord(character): " " for character in "\0\x0b\x0c\x1c\x85\r\ufeff\x1a"}


def _packed(random_: random.Random, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", random_.choice(METHODS)) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _table(random_: random.Random, pairs: list[tuple[str, str]]) -> bytes:
    buffer = io.StringIO(newline="")
    if random_.random() < 0.3:
        buffer.write("Report of 2026\n\n")
    csv.writer(buffer, delimiter=random_.choice(",;\t|")).writerows([("question", "answer"), *pairs])
    return buffer.getvalue().encode(random_.choice(("utf-8", "utf-8-sig", "utf-16")))


def make(random_: random.Random) -> tuple[Made, int]:
    """Returns a well-formed file, and how many rows it holds."""
    pairs = [(f"q{n} {text(random_)}".translate(CONTROL), f"a {text(random_)}".translate(CONTROL)) for n in range(6)]
    objects: list[Any] = [{"question": question, "answer": answer} for question, answer in pairs]
    kind = random_.choice(("json", "wrapper", "excel", "html", "mbox", "gzip", "zstd", "zip", "zip in zip"))
    if kind == "json":
        return Made("t.json", json.dumps(objects, indent=random_.choice((None, 1))).encode()), 6
    if kind == "wrapper":
        return Made("t.jsonl", json.dumps({"a": {"b": objects, "c": [{"x": 1}]}}).encode()), 6
    if kind == "excel":
        sheets = {"A": [["question", "answer"], *map(list, pairs)], "B": [["x"]]}
        return Made(random_.choice(("t.xlsx", "t.csv")), excel.workbook(sheets)), 6
    if kind == "html":
        return Made("t.html", "".join(f"<h2>q{n}</h2><p>a</p>" for n in range(6)).encode()), 6
    if kind == "mbox":
        return Made("t.mbox", MAILS), 3
    table = _table(random_, pairs)
    if kind in ("gzip", "zstd"):
        packed = gzip.compress(table) if kind == "gzip" else bytes(pa.compress(table, "zstd", asbytes=True))
        return Made("t.csv.gz" if kind == "gzip" else "t.csv.zst", packed), 6
    files = {"a/t.csv": table, "b.md": b"# a\n\nb", "c.eml": MAILS[42:150]}
    if kind == "zip in zip":
        files = {"i.zip": _packed(random_, files)}
    return Made("t.zip", _packed(random_, files)), 8


def trial(seed: int, folder: Path) -> Counter[str]:
    """Makes, reads, mutates and reads one file; raises `AssertionError` where a rule is broken."""
    random_ = random.Random(seed)
    made, count = make(random_)
    path = folder / made.name
    counts: Counter[str] = Counter()
    for content in (made.content, mutate(random_, made.content)[0]):
        path.write_bytes(content)
        try:
            found = rows(discover([str(path)], SETTINGS).files, SETTINGS)
            assert rows(discover([str(path)], SETTINGS).files, SETTINGS, 1) == found
            assert content != made.content or len(found) == count
            counts["rows"] += len(found)
        except UserError:
            assert content != made.content
            counts["refused"] += 1
    path.unlink()
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=1_000, help="how many files to read, half of them mutated")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    failed = False
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for seed in range(arguments.seed * 10_000_000, arguments.seed * 10_000_000 + arguments.files // 2):
            try:
                counts += trial(seed, Path(folder))
            except Exception as error:
                failed = True
                print(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    print(dict(counts))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
