"""The outermost layer: a request id, the key, the size of the body, the last deadline, an envelope for the unexpected.

Output contract: every response has an `x-request-id`, made here. No route but `OPEN` is reached without a key. A body
that dribbles in, and a client that stops reading, end at the deadline. `Visit` is the record of one HTTP request: `end`
gets it when the request is over, however it ended, and writes one log line; nothing in it is the client's text.
This module knows no routes and no models.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.config import Serve
from serve_app import errors, keys
from serve_app.answer import Job

log = logging.getLogger("solotune.serve")

OPEN = ("/health", "/ready")
VISIT = "solotune.visit"  # where in the ASGI scope
GRACE = 5.0  # seconds beyond a request's own deadline before its connection is cut
GONE = 499  # nginx's status for a client that hung up: nobody reads it
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass
class Visit:
    """One HTTP request. `job` is there where an answer was generated."""

    method: str
    id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")
    started: float = field(default_factory=time.monotonic)
    route: str = "unknown"  # the route's own pattern: the path is the client's text
    status: int = GONE
    seconds: float = 0.0
    job: Job | None = None


def reply(error: errors.ApiError) -> JSONResponse:
    return JSONResponse(error.envelope, error.status, error.headers)


def end(visit: Visit) -> None:
    """Writes the log line of a request that is over."""
    usage = visit.job.usage if visit.job is not None else None
    tokens = "" if usage is None else f" {usage.prompt_tokens} + {usage.completion_tokens} tokens"
    log.info("%s %s %s %d in %.3f s%s", visit.id, visit.method, visit.route, visit.status, visit.seconds, tokens)


class Door:
    """See the module. `hashes` are the SHA-256 of the keys that are good."""

    def __init__(self, app: ASGIApp, settings: Serve, hashes: list[str], on_end: Callable[[Visit], None] = end) -> None:
        self.app, self.settings, self.hashes, self.on_end = app, settings, hashes, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        visit = Visit(scope["method"] if scope["method"] in _METHODS else "other")
        scope[VISIT] = visit
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started, visit.status = True, message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = visit.id
                headers["openai-processing-ms"] = str(round((time.monotonic() - visit.started) * 1000))
            await send(message)

        try:
            error = await self._pass(scope, receive, sending, visit)
            if error is not None and not started:
                await reply(error)(scope, receive, sending)
            elif error is not None:
                raise ConnectionAbortedError  # the server closes a connection whose response was cut short
        finally:
            visit.route = str(getattr(scope.get("route"), "path", "unknown"))
            visit.seconds = time.monotonic() - visit.started
            self.on_end(visit)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, visit: Visit) -> errors.ApiError | None:
        """Lets the request through; returns the error that is to be answered where nobody did."""
        try:
            async with asyncio.timeout(self.settings.deadline + GRACE):
                if scope["path"] not in OPEN:
                    self._authenticate(Request(scope))
                await self.app(scope, await self._bounded(scope, receive), send)
        except errors.ApiError as error:
            return error
        except TimeoutError:
            return errors.timed_out()
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__))  # the error's own words may quote the request
            log.error("%s %s failed: %s\n%s", visit.id, visit.method, type(error).__name__, where)
            return errors.internal()
        return None

    def _authenticate(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        given = scheme.lower() == "bearer" and bool(key.strip())
        if not given or not keys.verify(key.strip(), self.hashes):
            raise errors.unauthorized(given)

    async def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Reads the body up to the limit; returns a `receive` that hands it out in one piece."""
        limit = self.settings.body_limit
        length = Request(scope).headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise errors.of_status(400)
        if len(length) > 18 or int(length) > limit:
            raise errors.too_large(limit)
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break  # hung up
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit:
                raise errors.too_large(limit)
        waiting = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        return replay
