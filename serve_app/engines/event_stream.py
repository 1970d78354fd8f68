"""Asking another server for server-sent events: what the `gguf` and `url` engines share.

Output contract: only URLs made from a base address that the configuration (or this process) gave are asked; redirects
are not followed, proxies of the environment not used. Leaving the iterator closes the connection, which cancels the
request there. An answer other than 200 becomes an engine's error; of its text nothing is passed on.
This module knows no engine.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from serve_app.engines import BusyError, EngineError, RefusedError

LONGEST = 8 << 20  # bytes: a line of an event stream


class Peer:
    """One server. The session is made on the event loop that first asks, and belongs to it."""

    def __init__(self, base: str, key: str | None = None) -> None:
        self.base = base
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout, connector=connector)
        return self._session

    @asynccontextmanager
    async def _asked(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Lends the answer to a request; what goes wrong on the way is an `EngineError`."""
        try:
            async with self._open().request(method, self.base + path, allow_redirects=False, **options) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise EngineError(f"the model's server cannot be reached: {type(error).__name__}") from error

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Posts a request; yields the JSON of each event up to `[DONE]` or the end."""
        async with self._asked("POST", path, json=body) as response:
            await _accepted(response)
            async for data in _data(response):
                if data == b"[DONE]":
                    return
                yield _parsed(data)

    async def get(self, path: str) -> Any:
        """Returns the JSON of a GET; raises `EngineError` for anything but a 200 within 5 seconds."""
        async with self._asked("GET", path, timeout=aiohttp.ClientTimeout(total=5)) as response:
            if response.status != 200:
                raise EngineError(f"the model's server answered {response.status}")
            return await response.json(content_type=None)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Returns the JSON of a POST; raises as `events` does."""
        async with self._asked("POST", path, json=body) as response:
            await _accepted(response)
            return await response.json(content_type=None)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()


async def _data(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Yields what follows `data:` in each line."""
    held = b""
    async for part in response.content.iter_any():
        *lines, held = (held + part).split(b"\n")
        if len(held) > LONGEST:
            raise EngineError("the model's server sends a line without end")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError as error:
        raise EngineError("the model's server sent an event that is not JSON") from error
    if not isinstance(event, dict) or "error" in event:
        raise EngineError("the model's server failed in its answer")
    return event


async def _parameter(response: aiohttp.ClientResponse) -> str | None:
    """Returns the argument that an error envelope names, if it is one of ours."""
    try:
        error = json.loads(await response.content.read(1 << 16))["error"]
        return error["param"] if error.get("param") in _ARGUMENTS else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


_ARGUMENTS = {"temperature", "top_p", "seed", "max_tokens", "stop", "frequency_penalty", "presence_penalty"}
_ARGUMENTS |= {"response_format", "messages", "prompt"}


async def _accepted(response: aiohttp.ClientResponse) -> None:
    """Raises the engine's error for an answer other than 200."""
    status = response.status
    if status in (400, 413, 422):
        param = await _parameter(response)
        raise RefusedError(f"The model's server refused {param or 'the request'}.", param)
    if status == 429:
        raise BusyError("the model's server is busy")
    if status != 200:
        raise EngineError(f"the model's server answered {status}")
