"""Requests to another server with server-sent events: shared by the `gguf` and `url` engines.

Output contract: requests go only below the base address of the configuration (or of this process), without redirects or
proxies of the environment. Leaving the iterator closes the connection, which cancels the request there. A status other
than 200 becomes an engine's error, without any text of the server's.
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
IDLE = 1.0  # seconds that a connection is kept for the next request: llama.cpp's server hangs up after 5


class Peer:
    """One server. Its session belongs to the event loop of the first request."""

    def __init__(self, base: str, key: str | None = None) -> None:
        self.base = base
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE)
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout, connector=connector)
        return self._session

    @asynccontextmanager
    async def _response(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yields the response to a request; raises `EngineError` for a failed connection."""
        try:
            async with self._open().request(method, self.base + path, allow_redirects=False, **options) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise EngineError(f"the model's server cannot be reached: {type(error).__name__}") from error

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Posts a request; yields the JSON of each event up to `[DONE]` or the end."""
        async with self._response("POST", path, json=body) as response:
            await _accepted(response)
            async for data in _data(response):
                if data == b"[DONE]":
                    return
                yield _parsed(data)

    async def get(self, path: str) -> Any:
        """Returns the JSON of a GET; raises `EngineError` for anything but a 200 within 5 seconds."""
        async with self._response("GET", path, timeout=aiohttp.ClientTimeout(total=5)) as response:
            if response.status != 200:
                raise EngineError(f"the model's server answered {response.status}")
            return await response.json(content_type=None)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Returns the JSON of a POST; raises as `events` does."""
        async with self._response("POST", path, json=body) as response:
            await _accepted(response)
            return await response.json(content_type=None)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()


async def _data(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Yields the data of each line that begins with `data:`."""
    rest = b""
    async for part in response.content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > LONGEST:
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
    """Returns the argument of an error envelope, if it is one of ours."""
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
