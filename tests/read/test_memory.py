"""Reading takes the memory of a part, whatever the size of the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SIZE = 200 << 20  # bytes of a file
MOST = 150 << 10  # KiB that reading it may take beyond an interpreter with the package loaded
ROW = 20_000  # characters of an answer
CODE = """
import resource, sys
from pipeline.config import Columns, Read, TableSource
from pipeline.read import discover, read

settings = Read(tables=(TableSource(match="*", columns=Columns(prompt="question", response="answer")),))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small, large = ([file] for file in sys.argv[1:])
for place in (small, large):
    before = peak()
    rows = sum(part.num_rows for file in discover(place, settings).files for part in read(file, settings))
print(rows, peak() - before)
"""


def _write(path: Path, rows: int) -> Path:
    line = "word " * (ROW // 5)
    if path.suffix == ".parquet":
        answers = pa.array([f"{number} {line}" for number in range(100)])
        table = pa.table({"question": [str(number) for number in range(100)], "answer": answers})
        with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
            writer.write_table(pa.concat_tables([table] * (rows // 100)), row_group_size=rows)  # one row group
        return path
    with path.open("w") as file:
        file.write("question,answer\n" if path.suffix == ".csv" else "")
        for number in range(rows):
            csv = path.suffix == ".csv"
            file.write(f'{number},"{line}\n"\n' if csv else f'{{"question": "{number}", "answer": "{line}"}}\n')
    return path


@pytest.mark.parametrize(
    "suffix", [".csv", *(pytest.param(s, marks=pytest.mark.cluster) for s in (".jsonl", ".parquet"))]
)
def test_a_file_of_200_mb_is_read_in_150_mb(tmp_path: Path, suffix: str) -> None:
    rows = SIZE // ROW // 100 * 100
    places = [_write(tmp_path / f"small{suffix}", 100), _write(tmp_path / f"large{suffix}", rows)]
    assert places[1].stat().st_size > 0.95 * SIZE
    out = subprocess.run([sys.executable, "-c", CODE, *map(str, places)], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    found, grown = map(int, out.stdout.split())
    places[1].unlink()
    assert found == rows
    assert grown < MOST, f"{grown >> 10} MiB"
    print(f"{suffix}: {grown >> 10} MiB")
