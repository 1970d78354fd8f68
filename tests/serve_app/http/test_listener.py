"""The gateway's own port: taken before there is a server, given up at once, answers finished or cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipeline.errors import UserError
from serve_app.engines.fake import FakeEngine
from serve_app.http import gateway, listener
from tests.serve_app.client import ASK, CHAT, KEY, KEYRING, SETTINGS

HOST = "127.0.0.1"
REQUEST = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"

Client = Callable[[int], Awaitable[Any]]


def serve(engine: FakeEngine, drain: float, client: Callable[[listener.Listener, int], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        port = listener.bind(HOST, 0)
        number = port.getsockname()[1]
        made = listener.Listener(gateway.build(engine, SETTINGS, KEYRING), port, drain)
        try:
            return await client(made, number)
        finally:
            with contextlib.suppress(Exception):
                await made.stop()

    return asyncio.run(asyncio.wait_for(run(), 30))


def generating(stream: bool, tokens: int = 100) -> bytes:
    body = json.dumps({**ASK, "stream": stream, "max_tokens": tokens}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_taken_port_is_a_sentence_and_is_waited_for() -> None:
    with listener.bind(HOST, 0) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"cannot listen on {HOST}:{port}: .* Set `serve.port`"):
            listener.bind(HOST, port)
        started = time.monotonic()
        with pytest.raises(UserError):
            listener.bind(HOST, port, 0.3)
        assert 0.3 <= time.monotonic() - started < 3
        threading.Timer(0.3, other.close).start()
        listener.bind(HOST, port, 10).close()


def test_an_address_that_is_not_here_is_told_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=r"cannot listen on 203\.0\.113\.1:8000"):
        listener.bind("203.0.113.1", 8000, 10)
    assert time.monotonic() - started < 5


def test_who_connects_before_the_model_is_there_waits_for_it() -> None:
    async def run() -> bytes:
        port = listener.bind(HOST, 0)
        with socket.create_connection(port.getsockname(), 5) as early:
            early.sendall(REQUEST)
            await asyncio.sleep(0.2)  # the model is loaded
            made = listener.Listener(gateway.build(FakeEngine("tiny", 250), SETTINGS, KEYRING), port, 1)
            early.setblocking(False)
            answer = await asyncio.get_running_loop().sock_recv(early, 4096)
        await made.stop()
        return answer

    answer = asyncio.run(asyncio.wait_for(run(), 30))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nserver:" not in answer.lower()


def test_the_end_refuses_at_once_and_finishes_what_runs() -> None:
    engine = FakeEngine("tiny", 250, interval=0.01)

    async def client(made: listener.Listener, port: int) -> tuple[bytes, bool]:
        idle, keep = await asyncio.open_connection(HOST, port)
        keep.write(REQUEST)
        await idle.readuntil(b"}")
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(generating(stream=True))
        await until(lambda: engine.running == 1)
        ending = asyncio.create_task(made.stop())
        assert await asyncio.wait_for(idle.read(), 1) == b""  # a silent connection is closed
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        assert not ending.done()
        answer = await reader.read()
        await ending
        for used in (keep, writer):
            used.close()
        return answer, made.alive

    answer, alive = serve(engine, 10, client)
    assert b"data: [DONE]\n\n" in answer
    assert not alive
    assert engine.running == 0


def test_what_is_not_over_in_time_is_cut() -> None:
    engine = FakeEngine("tiny", 250, interval=1.0)

    async def client(made: listener.Listener, port: int) -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(generating(stream=False))
        await until(lambda: engine.running == 1)
        started = time.monotonic()
        await made.stop()
        took = time.monotonic() - started
        answer = await reader.read()
        writer.close()
        return answer, took

    answer, took = serve(engine, 1, client)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: " in answer
    assert b'{"error":{' in answer
    assert took < 4
    assert engine.running == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_cancels_its_answer(stream: bool) -> None:
    engine = FakeEngine("tiny", 250, interval=0.2)

    async def client(made: listener.Listener, port: int) -> None:
        _, writer = await asyncio.open_connection(HOST, port)
        writer.write(generating(stream))
        await until(lambda: engine.running == 1)
        writer.close()
        await until(lambda: engine.running == 0, 0.5)

    serve(engine, 1, client)
