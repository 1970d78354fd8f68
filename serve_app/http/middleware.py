"""The outermost layer: request id, API key, size of the body, last deadline, an envelope for unexpected errors.

Output contract: every response has one `x-request-id`: the client's own, where it sent one, else one made here. A path
with double slashes, or one at its end, is the path without; HEAD is GET without a body. No route but `OPEN` is reached
without a key. The deadline ends a body that arrives too slowly and a client that stops reading. `on_end` gets the
`RequestRecord` of every request, however it ended, with the route it was for.
This module knows no routes and no models.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import traceback
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.config import Serve
from serve_app import errors
from serve_app.http.access import Access
from serve_app.http.paths import plain
from serve_app.observe.request import RequestRecord

log = logging.getLogger("solotune.serve")

OPEN = ("/health", "/ready")
PLAYGROUND = "/playground"  # a page that is the same for everybody: open where it is switched on
RECORD = "solotune.request"  # where in the ASGI scope
GRACE = 5.0  # seconds beyond a request's own deadline before its connection is cut
_IDS = (b"x-request-id", b"x-client-request-id")
_ID = re.compile(rb"[0-9A-Za-z._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def error_response(error: errors.ApiError) -> JSONResponse:
    """Returns an error as a response."""
    return JSONResponse(error.envelope, error.status, error.headers)


class Middleware:
    """See the module."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Serve,
        access: Access,
        on_end: Callable[[RequestRecord], None],
        routes: Sequence[BaseRoute],
    ) -> None:
        self.app, self.settings, self.access, self.on_end, self.routes = app, settings, access, on_end, routes
        self.open = (*OPEN, PLAYGROUND) if settings.playground else OPEN

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        record = RequestRecord(scope["method"] if scope["method"] in _METHODS else "other")
        own_ids = {name: value for name, value in scope["headers"] if name in _IDS and _ID.fullmatch(value)}
        record.client_ids = [value.decode() for value in own_ids.values()]
        is_head = scope["method"] == "HEAD"
        scope = {**scope, RECORD: record, "method": "GET" if is_head else scope["method"], "path": plain(scope["path"])}
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started, record.status = True, message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = record.id
                for name, value in own_ids.items():
                    headers[name.decode()] = value.decode()
                headers["openai-processing-ms"] = str(round((time.monotonic() - record.started) * 1000))
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            error = await self._run(scope, receive, send_marked, record)
            if error is not None and not started:
                await error_response(error)(scope, receive, send_marked)
            elif error is not None:
                raise ConnectionAbortedError  # the server closes a connection whose response was cut short
        finally:
            record.route = self._route(scope)
            record.seconds = time.monotonic() - record.started
            self.on_end(record)

    def _route(self, scope: Scope) -> str:
        """Returns the pattern of a request's route, also of one that was refused before it came there."""
        route = scope.get("route") or next(
            (one for one in self.routes if one.matches(scope)[0] is not Match.NONE), None
        )
        return str(getattr(route, "path", "unknown"))

    async def _run(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> errors.ApiError | None:
        """Runs the application; returns the error that nothing inside it has answered."""
        headers = Headers(scope=scope)
        try:
            async with asyncio.timeout(self.settings.deadline + GRACE):
                if scope["path"] not in self.open:
                    record.key = self.access.enter(scope["path"], headers.get("authorization", ""))
                await self.app(scope, await self._bounded(headers, receive), send)
        except errors.ApiError as error:
            return error
        except TimeoutError:
            return errors.timed_out()
        except asyncio.CancelledError:  # the server ends: the client may try the next one
            return errors.unavailable()
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__))  # the error's own words may quote the request
            log.error("%s %s failed: %s\n%s", record.id, record.method, type(error).__name__, where)
            return errors.internal()
        return None

    async def _bounded(self, headers: Headers, receive: Receive) -> Receive:
        """Reads the body up to the limit; returns a `receive` that gives it in one message."""
        limit = self.settings.body_limit
        length = headers.get("content-length", "0")
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
        messages = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        return replay
