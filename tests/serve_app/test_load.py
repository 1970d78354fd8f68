"""Many clients over real sockets: all at once, gone in the middle, not reading. Nothing is lost and nothing stays."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from pipeline.config import Serve
from serve_app.engines.fake import FakeEngine
from tests.serve_app.client import ASK, CHAT, KEY, application
from tests.serve_app.upstream import serving


@contextmanager
def service(interval: float, length: int, **settings: Any) -> Iterator[tuple[FakeEngine, Any, str]]:
    engine = FakeEngine("tiny", 100_000, interval=interval, length=length)
    app = application(engine, Serve(max_new_tokens=50_000, max_input_tokens=150, **settings))
    with serving(app) as base:
        yield engine, app, base


def message(**changes: Any) -> bytes:
    body = json.dumps({**ASK, "stream": True, **changes}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def until_empty(engine: FakeEngine, app: Any, seconds: float) -> None:
    started = time.monotonic()
    while engine.running or app.state.admission.active:
        assert time.monotonic() < started + seconds, (engine.running, app.state.admission.active)
        time.sleep(0.02)


async def whole(base: str, request: bytes) -> bytes:
    place = urlsplit(base)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


def crowd(count: int, places: int, interval: float) -> Counter[str]:
    """Opens so many streams at once; returns how they were answered."""
    seen: Counter[str] = Counter()
    with service(interval, 12, concurrency=places // 2, queue=places - places // 2) as (engine, app, base):

        async def run() -> list[bytes]:
            return await asyncio.gather(*[whole(base, message(seed=seed)) for seed in range(count)])

        for answer in asyncio.run(run()):
            status = answer.split(b" ", 2)[1].decode()
            if status == "200":
                assert answer.rstrip(b"\r\n0").endswith(b"data: [DONE]")
            else:
                assert b"retry-after: 1" in answer
            seen[status] += 1
        until_empty(engine, app, 5)
    return seen


def leave(count: int, together: int = 50) -> tuple[list[tuple[int, int]], int]:
    """Has clients hang up in the middle of a stream; returns (bytes, objects) in memory 5 times, and streams begun."""
    memory, begun = [], 0
    with service(0.002, 0, concurrency=200, queue=200) as (engine, app, base):
        place = urlsplit(base)

        async def one(number: int) -> bool:
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            writer.write(message(seed=number, max_tokens=50_000, stream=number % 5 != 0))
            if number % 5:
                got = await reader.readuntil(b"\r\n\r\n")
                assert got.startswith(b"HTTP/1.1 200")
                await reader.readuntil(b"data: ")
            else:
                await asyncio.sleep(0.01)
            writer.transport.abort()
            return bool(number % 5)

        async def run() -> int:
            done = 0
            for start in range(0, count // 5, together):
                done += sum(await asyncio.gather(*[one(start + step) for step in range(together)]))
            return done

        for _ in range(5):
            begun += asyncio.run(run())
            until_empty(engine, app, 5)
            gc.collect()
            memory.append((psutil.Process(os.getpid()).memory_info().rss, len(gc.get_objects())))
    return memory, begun


def test_a_crowd_is_answered_or_refused() -> None:
    seen = crowd(60, 40, 0.03)
    assert sum(seen.values()) == 60
    assert set(seen) == {"200", "429"}


def test_clients_that_leave_leave_nothing() -> None:
    memory, begun = leave(100, together=20)
    assert begun == 80
    assert memory[-1][1] - memory[0][1] < 500


def test_a_client_that_does_not_read_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.http.middleware.GRACE", 0.3)
    with service(0.0, 0, concurrency=1, queue=1, deadline=0.7, stream_interval=0.0) as (engine, app, base):
        place = urlsplit(base)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((place.hostname, place.port))
            slow.sendall(message(max_tokens=50_000, logprobs=True, top_logprobs=20))
            started = time.monotonic()
            while not engine.running:
                assert time.monotonic() < started + 2
                time.sleep(0.005)
            until_empty(engine, app, 3)
        assert b" 200 " in asyncio.run(whole(base, message(max_tokens=3)))[:20]


@pytest.mark.clients
def test_a_thousand_connections_at_once() -> None:
    started = time.monotonic()
    seen = crowd(1000, 900, 0.01)
    print(f"1,000 connections: {dict(seen)} in {time.monotonic() - started:.1f} s")
    assert sum(seen.values()) == 1000
    assert set(seen) <= {"200", "429"}
    assert seen["200"] >= 900


@pytest.mark.clients
def test_ten_thousand_clients_that_leave() -> None:
    started = time.monotonic()
    memory, begun = leave(10_000)
    print(f"10,000 hung up: {memory} (bytes, objects) in {time.monotonic() - started:.1f} s")
    assert begun == 8_000
    assert memory[-1][0] - memory[0][0] < 8 << 20
    assert memory[-1][1] - memory[0][1] < 500  # of some 2,000 requests more, each with dozens of objects
