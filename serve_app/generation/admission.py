"""Admission: how many answers are in hand, and whether anybody still waits for them.

Output contract: at most `limit` answers (choices of all requests) are running or waiting; what does not fit is answered
429. A place is given back however the request ends. A client that hangs up cancels the request's work.
`Admission.place` is where a generating request begins and ends.
This module does not know keys, rates or engines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Receive

from serve_app import errors


class Admission:
    """Counts the answers in hand."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0

    def expect(self, count: int) -> None:
        """Raises a 429 when there is no place for so many answers now: asked before any costly work."""
        if self.held + count > self.limit:
            raise errors.too_many(self.limit)

    @contextmanager
    def place(self, count: int) -> Iterator[None]:
        """Holds places for a request's answers; raises as `expect` does."""
        self.expect(count)
        self.held += count
        try:
            yield
        finally:
            self.held -= count


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Does the work; cancels it when the client hangs up first."""
    left = asyncio.timeout(None)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left.reschedule(0.0)  # long past: asyncio's own way to cancel this work and nothing around it

    watching = asyncio.ensure_future(watch())
    try:
        async with left:
            await work
    except TimeoutError:
        if not left.expired():
            raise
    finally:
        watching.cancel()
