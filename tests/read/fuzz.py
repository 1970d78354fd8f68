"""Damaged files by the thousand: well-formed ones are made, mutated, read, and held against a second reader.

Run: `python -m tests.read.fuzz --files 100000 --seed 1 [--processes 2]`. Output contract: prints how many files were
read or refused with a `UserError`, and how many rows came out; the seed of each that breaks a rule is printed, and the
exit status is 1. `trial(seed, folder)` is a file and its mutation: the same seed, the same bytes.

The rules: only a `UserError` is raised; the rows are those of `tests.read.reference`, one for one, with their lines; a
file read in small ranges, or into parts of one row, gives the same rows; rows that end before the first changed byte
come out as they do from the file before.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.config import Columns, Markdown, Read, TableSource
from pipeline.errors import UserError
from pipeline.read import InputFile, discover, pieces, read
from pipeline.read.helpdesks.layout import Layout
from pipeline.read.layouts import LAYOUTS
from pipeline.read.rows import PART_ROWS
from pipeline.read.tables.csvfile import read_header
from pipeline.read.text import clean, joined, to_text
from tests.read.reference import csv_records, json_records

MAPPED = Columns(
    prompt="question", response="answer", source_id="key", label="topic", created_at="at", names=("who",), clean=False
)
SETTINGS = Read(
    tables=(TableSource(match="mapped*", columns=MAPPED),),
    markdown=Markdown(questions=("Question",), answers=("Answer",)),
)
WORDS = (
    "card", "Grüße", "größer", "“quoted”", "a,b", "c;d", "tab\tin", 'say ""', '"', "'", "<b>x</b>", "&amp;",
    "<p>one</p>", "\n", "\n\n", "line\nnext", "\r\n", "é", "漢字", "😀", "-- \nAnna", "> cited", "2026-01-02 07:33",
    "12,5 €", "=SUM(A1)", "Sent from my iPhone", "From: me", "\u2028", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\ufeff",
    "x" * 300, "", " ", "#", "```", "---", "{", "}", "[", "\\", "\\n", "null", "NaN", "1e999", "sep=;",
)  # fmt: skip
BITS = (
    b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b'"', b'""', b'","', b",", b";", b"\t", b"\x1a",
    b"\xe2\x80\xa8", b"\x80", b"\x81", b"\xed\xa0\x80", b"\\", b"'", b"sep=;\n", b"\n\n", b"{", b"}", b"```\n",
    b"---\n", b"<!--", b"\\ud800", b"\x85", b"\x0b", b'"\n"', b"<A b={", b"# ",
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A well-formed file."""

    name: str
    content: bytes


def text(random_: random.Random, most: int = 6) -> str:
    return " ".join(random_.choices(WORDS, k=random_.randint(0, most)))


def _encode(random_: random.Random, value: str) -> bytes:
    encoding = random_.choices(("utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-be"), (6, 2, 3, 1, 1))[0]
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    return (mark + value).encode(encoding, "replace")


def _csv(random_: random.Random) -> Made:
    kind = random_.choice(("mapped", "zendesk", "freshdesk", "two"))
    if kind == "mapped":
        header = ["question", "answer", "key", "topic", "at", "who"]
    elif kind == "two":
        header = ["Requester", "Assignee", "Description", "Comment"]
    elif kind == "zendesk":
        header = [
            "Id",
            "Requester",
            "Assignee",
            "Subject",
            "Description",
            "Created at",
            "Status",
            "Latest public comment",
        ]
    else:
        header = [
            "Ticket ID",
            "Agent",
            "Due by Time",
            "Time Tracked",
            "Subject",
            "Description",
            "Agent response",
            "Email",
        ]
    random_.shuffle(header)
    buffer = io.StringIO(newline="")
    quoting = random_.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
    ends = random_.choices(("\n", "\r\n", "\r"), (4, 3, 1))[0]
    delimiter = random_.choice(",;\t")
    if random_.random() < 0.1:
        buffer.write(f"sep={delimiter}{ends}")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=ends)
    writer.writerow(header)
    for _ in range(random_.randint(0, 12)):
        row = [text(random_) for _ in header]
        if random_.random() < 0.05:
            row = row[: random_.randint(1, len(row))] if random_.random() < 0.5 else [*row, text(random_)]
        writer.writerow(row)
        if random_.random() < 0.05:
            buffer.write(ends)
    return Made("mapped.csv" if kind == "mapped" else f"{kind}.csv", _encode(random_, buffer.getvalue()))


def _value(random_: random.Random) -> Any:
    return random_.choice((text(random_), None, 7, 10**40, 1.5, True, float("nan"), "\ud800", "\0"))


def _jsonl(random_: random.Random) -> Made:
    lines = []
    for _ in range(random_.randint(1, 12)):
        row: Any = {name: _value(random_) for name in ("question", "answer", "key", "topic", "at", "who")}
        for name in ("question", "answer"):
            row[name] = text(random_) if random_.random() < 0.8 else row[name]
        if random_.random() < 0.1:
            row = _value(random_)
        line = json.dumps(row, ensure_ascii=random_.random() < 0.5)
        if random_.random() < 0.05:
            line = line.replace("{", '{"question": "twice", ', 1)
        lines.append(line if "\\ud800" in line else line.replace("\ud800", "?"))
    lines.insert(0, json.dumps({"question": "q", "answer": "a", "key": 1, "topic": "t", "at": None, "who": "w"}))
    ends = random_.choice(("\n", "\r\n"))
    return Made("mapped.jsonl", _encode(random_, ends.join(lines) + ends * random_.randint(0, 2)))


def _parquet(random_: random.Random) -> Made:
    count = random_.randint(0, 12)

    def strings() -> list[str | None]:
        return [text(random_) if random_.random() < 0.9 else None for _ in range(count)]

    makers: Sequence[Callable[[], pa.Array]] = (
        lambda: pa.array(strings(), pa.string()),
        lambda: pa.array(strings(), pa.large_string()),
        lambda: pa.array(strings(), pa.string()).dictionary_encode(),
        lambda: pa.array(
            [None if t is None else t.encode("utf-16-le", "surrogatepass") for t in strings()], pa.binary()
        ),
        lambda: pa.array([[t] for t in strings()], pa.list_(pa.string())),
        lambda: pa.array([{"x": t} for t in strings()], pa.struct([("x", pa.string())])),
        lambda: pa.array([[("k", t)] for t in strings()], pa.map_(pa.string(), pa.string())),
        lambda: pa.array(range(count), pa.int64()),
        lambda: pa.array([float("nan")] * count, pa.float64()),
        lambda: pa.array([Decimal("1.50")] * count, pa.decimal128(10, 2)),
        lambda: pa.array([datetime(2026, 1, 2, tzinfo=UTC)] * count, pa.timestamp("us", tz="Europe/Berlin")),
        lambda: pa.array([random_.randint(-(2**62), 2**62) for _ in range(count)], pa.timestamp("ns")),
        lambda: pa.array([random_.randint(-(2**62), 2**62) for _ in range(count)], pa.timestamp("us")),
        lambda: pa.array([random_.randint(-(2**31), 2**31 - 1) for _ in range(count)], pa.date32()),
        lambda: pa.array([random_.randint(-(2**62), 2**62) for _ in range(count)], pa.duration("us")),
        lambda: pa.array([random_.randint(0, 86399) for _ in range(count)], pa.time32("s")),
        lambda: pa.nulls(count),
        lambda: pa.array([True] * count),
    )
    names = ["question", "answer", "key", "topic", "at", "who", "other"]
    random_.shuffle(names)
    table = pa.table({name: (makers[0] if random_.random() < 0.4 else random_.choice(makers))() for name in names})
    sink = io.BytesIO()
    pq.write_table(
        table, sink, row_group_size=random_.randint(1, 5), compression=random_.choice(("snappy", "none", "zstd"))
    )
    return Made("mapped.parquet", sink.getvalue())


def _markdown(random_: random.Random) -> Made:
    parts = []
    if random_.random() < 0.5:
        parts.append(
            f"---\ntitle: {text(random_, 2)}\ntags: [a, {text(random_, 1)}]\ndate: 2026-01-02\n"
            + "---\n" * random_.randint(0, 1)
        )
    parts += [
        random_.choice(
            (
                f"{'#' * random_.randint(1, 7)} {text(random_, 2)}\n", f"{text(random_)}\n\n", "~~~\n", "# Question\n",
                "```python\n# no heading\n```\n", "Question\n---\n", "## Answer\n", "<!-- gone\n-->\n", "{/* c */}\n",
                "<Card title={`x`}>\n\ntext\n\n</Card>\n", "| a | b |\n| - | - |\n", "- item\n  ```\n  x\n",
                "import x from 'y'\n",
            )
        )
        for _ in range(random_.randint(0, 8))
    ]  # fmt: skip
    ends = random_.choice(("\n", "\r\n"))
    name = random_.choice(("page.md", "page.mdx", "page.markdown"))
    return Made(name, _encode(random_, "".join(parts).replace("\n", ends)))


def make(random_: random.Random) -> Made:
    return random_.choices((_csv, _jsonl, _parquet, _markdown), (6, 2, 1, 2))[0](random_)


# -- mutations --------------------------------------------------------------------------------------------------------


def mutate(random_: random.Random, content: bytes) -> tuple[bytes, int]:
    """Returns the content with one to four changes, and the first byte that is not as it was."""
    first = len(content)
    for _ in range(random_.choices((1, 2, 4), (6, 2, 1))[0]):
        at = random_.randint(0, len(content))
        other = at + random_.randint(0, 40)
        kind = random_.randrange(8)
        if kind == 0:
            content = content[:at] + bytes([random_.randrange(256)]) + content[at + 1 :]
        elif kind == 1:
            content = content[:at] + random_.choice(BITS) + content[at:]
        elif kind == 2:
            content = content[:at] + content[other:]
        elif kind == 3:
            content = content[:at]
        elif kind == 4:
            content = content[:at] + content[at:other] * 2 + content[other:]
        elif kind == 5:
            content = (
                content[:at] + content[at:other].replace(b'"', random_.choice((b"'", b"", b'""'))) + content[other:]
            )
        elif kind == 6:
            quote = content.find(b'"', at)
            content = content if quote < 0 else content[:quote] + content[quote + 1 :]
        else:
            content = content[:at] + content[at:other][::-1] + content[other:]
        first = min(first, at)
    return content, first


# -- rules ------------------------------------------------------------------------------------------------------------


def rows(files: Sequence[InputFile], settings: Read, most: int = PART_ROWS) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for file in files:
        for part in read(file, settings, most):
            assert part.schema == schema.WORKING
            assert 0 < part.num_rows <= most
            found += part.to_pylist()
    return found


def _sound(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def _shown(value: Any) -> str:
    if value is None or value in ("nan", "NaN") or value != value:
        return ""
    return f"{value:.0f}" if isinstance(value, float) and value % 1 == 0 else str(value)


def _cell(scalar: pa.Scalar) -> str | None:
    """Returns a Parquet value as text, None where Python has no such value."""
    if pa.types.is_timestamp(scalar.type) and scalar.type.unit == "ns":
        scalar = scalar.cast(pa.timestamp("us", scalar.type.tz), safe=False)
    try:
        value = scalar.as_py()
    except (OverflowError, ValueError):
        return None
    return (value.decode("utf-8", "undefined") if isinstance(value, bytes) else _shown(value)).strip()


def _layout_row(layout: Layout, names: Sequence[str], fields: Sequence[str]) -> tuple[str, str]:
    at = layout.locate(names, "x").at

    def value(role: str) -> str:
        place = at[role]
        return "" if place is None else fields[place]

    subject, description = value("subject"), value("description")
    asked = joined(to_text(subject), clean(description, "customer", (subject,)))
    return asked.text, clean(value("answer"), "agent", (subject, description)).text


def expected(file: InputFile, content: bytes) -> list[tuple[int, tuple[str, str] | None]] | None:
    """Returns (line, (prompt, response) or None) of each row, None for formats without a second reader."""
    if file.blank:
        return [(1, None)]
    if file.format == "parquet":
        table = pq.read_table(io.BytesIO(content), columns=["question", "answer"])
        return [
            (line, None if None in (both := (_cell(q), _cell(a))) else both)
            for line, (q, a) in enumerate(zip(table["question"], table["answer"], strict=True), 1)
        ]
    if file.format == "markdown":
        return None
    decoded = content.decode(file.encoding, "undefined")
    if file.format == "jsonl":
        return [
            (
                line,
                None if value is None else (_shown(value.get("question")).strip(), _shown(value.get("answer")).strip()),
            )
            for line, value in json_records(decoded)
        ]
    header = read_header(file.uri, file.encoding)
    assert header is not None
    wanted: list[tuple[int, tuple[str, str] | None]] = []
    for line, fields in csv_records(decoded, header.delimiter, len(header.names)):
        if line <= header.line:
            continue
        if fields is None:
            wanted.append((line, None))
        elif file.entry is not None:
            both = (fields[header.names.index("question")], fields[header.names.index("answer")])
            wanted.append((line, (_shown(both[0]).strip(), _shown(both[1]).strip())))
        else:
            wanted.append((line, _layout_row(LAYOUTS[file.layout], header.names, fields)))
    return wanted


def check(file: InputFile, content: bytes, size: int, settings: Read = SETTINGS) -> list[dict[str, Any]]:
    """Reads a file whole, in small parts and in ranges of `size` bytes, holds it against the second reader; returns its
    rows."""
    found = rows([file], settings)
    wanted = expected(file, content)
    if wanted is None:
        assert len(found) >= 1
        last = content.decode(file.encoding, "undefined").replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
        assert all(1 <= row["line"] <= last for row in found)
    else:
        assert [row["line"] for row in found] == [line for line, _ in wanted]
        for row, (_, both) in zip(found, wanted, strict=True):
            if both is None or not all(map(_sound, both)):
                assert (row["reason"], row["prompt"], row["response"]) == ("unreadable", "", ""), row["line"]
            elif row["reason"] != "unreadable":  # else another of its fields cannot be stored
                assert (row["prompt"], row["response"]) == both, row["line"]
    assert rows([file], settings, 1 + size % 5) == found
    ranges = pieces(file, size, 1 + size % 5)
    assert rows(ranges, settings) == found
    if len(ranges) > 1 and file.format != "parquet":
        spans = [piece.span for piece in ranges if piece.span]
        assert [span.start for span in spans[1:]] == [span.end for span in spans[:-1]]
    return found


def before(file: InputFile, content: bytes, first: int) -> int:
    """Returns how many physical lines of a text end before byte `first`."""
    if file.encoding in ("utf-16", "utf-32"):
        return 0
    return content[: max(0, first - 1)].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")


def trial(seed: int, folder: Path) -> Counter[str]:
    """Makes, reads, mutates and reads one file; raises `AssertionError` where a rule is broken."""
    random_ = random.Random(seed)
    made = make(random_)
    size = random_.choice((1, 30, 100, 300, 1000))
    path = folder / made.name
    counts: Counter[str] = Counter()
    path.write_bytes(made.content)
    original = None
    untouched: list[dict[str, Any]] = []
    try:
        (original,) = discover([str(path)], SETTINGS).files
        untouched = check(original, made.content, size)
        counts["rows"] += len(untouched)
    except UserError:
        counts["refused"] += 1
    content, first = mutate(random_, made.content)
    path.write_bytes(content)
    try:
        (file,) = discover([str(path)], SETTINGS).files
        found = check(file, content, size)
        counts["rows"] += len(found)
        counts["unreadable"] += sum(row["reason"] == "unreadable" for row in found)
        if original is not None and original.format in ("csv", "jsonl"):
            same = (original.encoding, original.layout) == (file.encoding, file.layout)
            if same and (file.format == "jsonl" or read_header(file.uri, file.encoding) is not None):
                whole = before(file, content, first)
                starts = [row["line"] for row in untouched] + [10**9]
                kept = [row for row, after in zip(untouched, starts[1:], strict=True) if after <= whole]
                if original.format == "jsonl" or same_header(made, content, first):
                    assert found[: len(kept)] == kept
                    counts["kept"] += len(kept)
    except UserError:
        counts["refused"] += 1
    path.unlink()
    return counts


def same_header(made: Made, content: bytes, first: int) -> bool:
    """Tells whether the change is well behind the first lines, whatever the header is."""
    head = made.content[: max(0, first - 1)]
    return head == content[: len(head)] and head.replace(b"\r", b"\n").count(b"\n") >= 3


def _many(seeds: range) -> tuple[Counter[str], list[tuple[int, str]]]:
    counts: Counter[str] = Counter()
    broken: list[tuple[int, str]] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for seed in seeds:
            try:
                counts += trial(seed, Path(folder))
                counts["files"] += 2
            except Exception as error:
                broken.append((seed, f"{type(error).__name__}: {str(error)[:300]}"))
                for path in Path(folder).iterdir():
                    path.unlink()
    return counts, broken


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=1_000, help="how many files to read, half of them mutated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    first, last = arguments.seed * 10_000_000, arguments.seed * 10_000_000 + arguments.files // 2
    batches = [range(at, min(at + 500, last)) for at in range(first, last, 500)]
    counts: Counter[str] = Counter()
    failed = False
    with ProcessPoolExecutor(arguments.processes) as pool:
        for some, broken in pool.map(_many, batches):
            counts += some
            for seed, said in broken:
                failed = True
                print(f"seed {seed}: {said}", flush=True)
    print(dict(counts))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
