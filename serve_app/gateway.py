"""The HTTP surface: routes, authentication, body limit, admission; an ASGI application around one engine.

Output contract: every route but `/health` needs a key. Every error is OpenAI's envelope. At most `concurrency + queue`
requests are in hand, one more is answered 429; a client that hangs up frees its place. Bodies, prompts and answers
reach no log and no error.
This module knows nothing of Ray, and of models only the `Engine` interface.
"""

# No `from __future__ import annotations` here: FastAPI resolves the routes' annotations.

import asyncio
import logging
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from jinja2 import TemplateError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.config import Serve
from pipeline.train.template import chat_prompt
from serve_app import errors, keys, stream
from serve_app.chat import ChatRequest, Completion, Model, Models
from serve_app.engines import Engine, EngineError, Generation

log = logging.getLogger("solotune.serve")

BODY_LIMIT = 1 << 20  # bytes
OPEN = ("/health",)
GONE = 499  # nginx's status for a client that hung up: nobody reads it
LONGEST_TOKEN = 32  # characters; a text with more per allowed token is refused before it is tokenised


def reply(error: errors.ApiError) -> JSONResponse:
    return JSONResponse(error.envelope, error.status, error.headers)


class Guard:
    """Outermost layer: key, size of the body, and an envelope for what nobody expected."""

    def __init__(self, app: ASGIApp, hashes: list[str]) -> None:
        self.app, self.hashes = app, hashes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if scope["path"] not in OPEN:
                self._authenticate(Request(scope))
            await self.app(scope, await self._bounded(scope, receive), sending)
        except errors.ApiError as error:
            await reply(error)(scope, receive, sending)
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__))  # the error's own words may quote the request
            log.error("%s %s failed: %s\n%s", scope["method"], _route(scope), type(error).__name__, where)
            if not started:
                await reply(errors.internal())(scope, receive, sending)

    def _authenticate(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        given = scheme.lower() == "bearer" and bool(key.strip())
        if not given or not keys.verify(key.strip(), self.hashes):
            raise errors.unauthorized(given)

    @staticmethod
    async def _bounded(scope: Scope, receive: Receive) -> Receive:
        """Reads the body up to the limit; returns a `receive` that hands it out in one piece."""
        length = Request(scope).headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY_LIMIT:
            raise errors.too_large(BODY_LIMIT) if length.isdecimal() else errors.of_status(400)
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break  # hung up
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > BODY_LIMIT:
                raise errors.too_large(BODY_LIMIT)
        waiting = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        return replay


def _route(scope: Scope) -> str:
    """Returns the route's own pattern: the path is the client's text."""
    return str(getattr(scope.get("route"), "path", "an unknown route"))


class Admission:
    """Counts the requests in hand."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0

    def enter(self) -> None:
        """Takes a place; raises a 429 when there is none."""
        if self.held >= self.limit:
            raise errors.too_many(self.limit)
        self.held += 1

    def leave(self) -> None:
        self.held -= 1


class EventStream(StreamingResponse):
    """Server-sent events that give the place back however the response ends, even before its first event."""

    def __init__(self, events: AsyncGenerator[str, None], leave: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self.events, self.leave = events, leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.leave()
            await self.events.aclose()


async def unless_gone(connection: Request, work: Coroutine[Any, Any, Completion]) -> Completion | None:
    """Returns what the work gives; when the client hangs up first, cancels the work and returns None.

    Serve's own proxy cancels the whole request then; an ASGI server only reports it.
    """

    async def gone() -> None:
        while (await connection.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def prepare(engine: Engine, settings: Serve, request: ChatRequest) -> stream.Chat:
    """Turns a valid request into what the engine gets; raises a 404 or 400 for what this model cannot do."""
    if request.model != engine.model_id:
        raise errors.unknown_model()
    if request.stream_options is not None and not request.stream:
        raise errors.bad_request("stream_options is only allowed when stream is true.", "stream_options")
    prompt = _prompt(engine, min(settings.max_input_tokens, engine.max_context - 1), request)
    room = engine.max_context - len(prompt)
    if request.limit is not None and request.limit > settings.max_new_tokens:
        param = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
        message = f"{param} is too large: this service generates at most {settings.max_new_tokens} tokens."
        raise errors.bad_request(message, param, "invalid_value")
    if request.limit is not None and request.limit > room:
        raise _too_long(engine.max_context, len(prompt) + request.limit)
    generation = Generation(
        prompt_ids=prompt,
        max_tokens=request.limit or min(settings.max_new_tokens, room),
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=request.seed,
    )
    options = request.stream_options
    return stream.Chat(generation, request.stops, include_usage=bool(options and options.include_usage))


def _prompt(engine: Engine, most: int, request: ChatRequest) -> list[int]:
    messages = [message.rendered() for message in request.messages]
    if sum(len(message["content"]) for message in messages) > LONGEST_TOKEN * most:
        raise _too_long(most)
    try:
        prompt = chat_prompt(engine.tokenizer, messages)
    except TemplateError as error:
        message = "This model's chat template does not take messages in these roles and this order."
        raise errors.bad_request(message, "messages") from error
    if len(prompt) > most:
        raise _too_long(most, len(prompt))
    return prompt


def _too_long(most: int, tokens: int | None = None) -> errors.ApiError:
    counted = "" if tokens is None else f" This request asks for {tokens}."
    return errors.bad_request(f"At most {most} tokens fit.{counted}", "messages", "context_length_exceeded")


def build(engine: Engine, settings: Serve, hashes: list[str]) -> FastAPI:
    """Returns the application; `hashes` are the SHA-256 of the keys that are good."""
    app = FastAPI(title="solotune", docs_url=None, redoc_url=None)
    app.add_middleware(Guard, hashes=hashes)
    _answer_errors(app)
    _list_models(app, Model(id=engine.model_id, created=engine.created))
    admission = Admission(settings.concurrency + settings.queue)

    @app.get("/health")
    async def health() -> dict[str, str]:
        engine.check()
        return {"status": "ok"}

    @app.post("/v1/chat/completions", response_model=Completion)
    async def chat_completions(request: ChatRequest, connection: Request) -> Response:
        chat = prepare(engine, settings, request)
        admission.enter()
        if request.stream:
            return EventStream(stream.events(engine, chat), admission.leave)
        try:
            done = await unless_gone(connection, stream.completion(engine, chat))
        finally:
            admission.leave()
        return Response(done.model_dump_json(), media_type="application/json") if done else Response(status_code=GONE)

    return app


def _list_models(app: FastAPI, card: Model) -> None:
    @app.get("/v1/models")
    async def models() -> Models:
        return Models(data=[card])

    @app.get("/v1/models/{model_id:path}")
    async def model(model_id: str) -> Model:
        if model_id != card.id:
            raise errors.unknown_model()
        return card


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(errors.ApiError)
    async def deliberate(_: Request, error: errors.ApiError) -> Response:
        return reply(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return reply(errors.of_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        answer = errors.of_status(error.status_code)
        answer.headers.update(error.headers or {})
        return reply(answer)

    @app.exception_handler(EngineError)
    async def broken(_: Request, error: EngineError) -> Response:
        log.error("the engine failed: %s", error)
        return reply(errors.unavailable())
