"""The service's own listener with the fake engine, for the programs that stand before it and beside it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from pipeline.config import Serve
from serve_app.engines.fake import FakeEngine
from serve_app.http import gateway, listener
from tests.serve_app.client import KEYRING


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@contextlib.contextmanager
def service(engine: FakeEngine, settings: Serve) -> Iterator[int]:
    """Runs the service's own listener in a thread; yields its port."""
    bound: concurrent.futures.Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = concurrent.futures.Future()

    async def run() -> None:
        port, ended = listener.bind("127.0.0.1", 0), asyncio.Event()
        listening = listener.Listener(gateway.build(engine, settings, KEYRING), port, drain=0)
        bound.set_result((port.getsockname()[1], asyncio.get_running_loop(), ended))
        await ended.wait()
        await listening.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    number, loop, ended = bound.result(20)
    try:
        yield number
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)
