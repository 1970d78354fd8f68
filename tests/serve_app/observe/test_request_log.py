"""The log of requests: whole lines, bounded files, and a service that does not care whether the disk takes them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from serve_app.engines.fake import FakeEngine
from serve_app.http import gateway
from serve_app.observe import request_log
from serve_app.observe.request_log import LogWriter
from tests.serve_app.client import ASK, CHAT, KEYRING, SETTINGS, connect


def lines(folder: Path) -> list[dict[str, Any]]:
    """Returns all lines in the order of their files; each must be whole."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("requests-*")):
        with pa.CompressedInputStream(str(path), "zstd") if path.suffix == ".zst" else path.open("rb") as stream:
            content = stream.read()
        assert content.endswith(b"\n")
        found += map(json.loads, content.splitlines())
    return found


async def session(writer: LogWriter) -> list[httpx.Response]:
    engine = FakeEngine("tiny", 250)
    async with connect(gateway.build(engine, SETTINGS, KEYRING, writer)) as client:
        return [
            await client.post(CHAT, json={**ASK, "seed": 1, "max_tokens": 9}),
            await client.post(CHAT, json={**ASK, "stream": True}),
            await client.post(CHAT, json={**ASK, "zzyx": "zzyx"}),
            await client.get("/zzyx", headers={"Authorization": "Bearer zzyx"}),
        ]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "TOGETHER", 0.0)


def test_an_entry_tells_what_happened_and_nothing_that_was_said(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, 1 << 20, 2)
    responses = asyncio.run(session(writer))
    writer.close()
    got = lines(tmp_path)
    assert [line["request_id"] for line in got] == [response.headers["x-request-id"] for response in responses]
    assert [line["status"] for line in got] == [200, 200, 400, 401]
    usage = responses[0].json()["usage"]
    first = got[0]
    assert {name: first[name] for name in ("prompt_tokens", "completion_tokens")} == {
        name: usage[name] for name in ("prompt_tokens", "completion_tokens")
    }
    assert first["key_id"] == KEYRING.find("sk-solotune-test").id  # type: ignore[union-attr]
    assert first["finish_reasons"] == ["length"]
    assert 0 < first["first_token"] <= first["seconds"]
    assert got[1]["stream"] is True
    assert got[3]["key_id"] is None
    written = json.dumps(got)
    for said in ("zzyx", ASK["messages"][0]["content"], responses[0].json()["choices"][0]["message"]["content"]):
        assert said not in written


def test_full_files_are_compressed_and_the_oldest_go(tmp_path: Path, quick: None) -> None:
    writer = LogWriter(tmp_path, size=2000, keep=3)
    for at in range(400):
        writer.write({"at": at})
        if at % 20 == 0:
            time.sleep(0.005)
    writer.close()
    packed = sorted(tmp_path.glob("requests-*.zst"))
    assert 1 <= len(packed) <= 3
    assert len(list(tmp_path.iterdir())) <= 4
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} <= {0o640}
    ats = [line["at"] for line in lines(tmp_path)]
    assert ats == list(range(ats[0], 400))
    assert (writer.written, writer.dropped) == (400, 0)


def test_what_a_killed_process_left_is_compressed_and_a_living_one_is_let_be(tmp_path: Path) -> None:
    (tmp_path / "requests-20260101T000000.000000Z-1.jsonl").write_text('{"at": 0}\n')
    (tmp_path / "requests-20260101T000001.000000Z-2.jsonl").write_text("")
    other = LogWriter(tmp_path, 1 << 20, 5)
    other.write({"at": 1})
    while not other.written:
        time.sleep(0.01)
    LogWriter(tmp_path, 1 << 20, 5).close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name.rpartition(".")[2] for name in names] == ["zst", "jsonl"]
    other.write({"at": 2})
    other.close()
    assert [line["at"] for line in lines(tmp_path)] == [0, 1, 2]


FULL = """
import json, resource, sys, time
from pathlib import Path
from serve_app.observe import request_log

request_log.TOGETHER = 0.0
folder = Path(sys.argv[1])
writer = request_log.LogWriter(folder, 1 << 20, 2)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))  # the kernel writes what fits and refuses the rest
for at in range(100):
    writer.write({"at": at, "filler": "x" * 30})
    time.sleep(0.001)
time.sleep(0.1)
full = writer.dropped
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
time.sleep(0.05)
writer.write({"at": 100})
writer.close()
print(json.dumps([writer.written, writer.dropped, full]))
"""


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    written, dropped, full = json.loads(done.stdout)
    assert written + dropped == 101
    assert dropped == full > 0
    got = lines(tmp_path)
    assert got[-1] == {"at": 100}
    assert [line["dropped_lines"] for line in got if "dropped_lines" in line][-1] > 0
    assert sum(line.get("dropped_lines", 0) for line in got) == dropped
    assert len([line for line in got if "at" in line]) == written
    assert done.stderr.count("requests go on") >= 1


def test_a_folder_that_cannot_be_made_costs_lines_too(tmp_path: Path, quick: None) -> None:
    (tmp_path / "log").write_text("a file")
    writer = LogWriter(tmp_path / "log", 1 << 20, 2)
    for at in range(5):
        writer.write({"at": at})
    writer.close()
    assert (writer.written, writer.dropped) == (0, 5)


def test_a_disk_that_hangs_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "WAITING", 10)
    writer = LogWriter(tmp_path, 1 << 20, 2)
    monkeypatch.setattr(writer, "_put", lambda lines: time.sleep(0.5))
    started = time.monotonic()
    for at in range(1000):
        writer.write({"at": at})
    assert time.monotonic() - started < 0.4
    assert writer.dropped >= 900
    writer.close()
