"""Whether anybody still waits: work that ends, fails, or is left by its client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serve_app.generation.admission import while_connected


async def _never() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def _soon() -> dict[str, Any]:
    await asyncio.sleep(0.01)
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("error", [ValueError, TimeoutError, asyncio.CancelledError])
def test_what_work_raises_is_raised(error: type[BaseException]) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise error

    async def both() -> None:
        with pytest.raises(error):
            async with while_connected(_never):
                await work()
        assert len(asyncio.all_tasks()) == 2  # the watcher is ending
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(both())


def test_a_client_that_leaves_ends_the_work_and_nothing_around_it() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)  # tidying up may take time
            seen.append("tidied")

    async def session() -> None:
        async with while_connected(_soon):
            await work()
        seen.append("went on")
        current = asyncio.current_task()
        assert current is not None
        assert not current.cancelling()

    asyncio.run(session())
    assert seen == ["tidied", "went on"]


def test_a_deadline_around_the_work_is_told_from_a_client_that_leaves() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    async def session() -> None:
        async with asyncio.timeout(0.01):
            async with while_connected(_never):
                await work()

    with pytest.raises(TimeoutError):
        asyncio.run(session())


def test_a_client_that_has_left_before_still_gets_its_work_cancelled() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def session() -> None:
        async with asyncio.timeout(5), while_connected(gone):
            await asyncio.sleep(60)

    asyncio.run(session())
