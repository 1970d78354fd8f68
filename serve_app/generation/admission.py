"""Admission: a bound on the answers in progress, and the end of work whose client has hung up.

Output contract: at most `limit` answers (choices of all requests) run or wait; a request beyond that is answered 429.
A slot is given back however its request ends. A client that hangs up cancels the request's work.
This module does not know keys, rates or engines.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.types import Receive

from serve_app import errors


class Admission:
    """Counts the answers in progress."""

    def __init__(self, limit: int) -> None:
        self.limit, self.active = limit, 0

    def require(self, count: int) -> None:
        """Raises a 429 when `count` more answers do not fit now: called before any costly work."""
        if self.active + count > self.limit:
            raise errors.too_many(self.limit)

    @contextmanager
    def slot(self, count: int) -> Iterator[None]:
        """Holds slots for a request's answers; raises as `require` does."""
        self.require(count)
        self.active += count
        try:
            yield
        finally:
            self.active -= count


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancels the block when the client hangs up first, and goes on after it."""
    scope = asyncio.timeout(None)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.reschedule(0.0)  # long past: asyncio's own way to cancel this block and nothing around it

    watcher = asyncio.ensure_future(watch())
    try:
        async with scope:
            yield
    except TimeoutError:
        if not scope.expired():
            raise
    finally:
        watcher.cancel()
