"""The HTTP surface: an ASGI application around one engine.

Output contract: every route but `/health`, `/ready` and, where it is switched on, the playground's page needs a key.
Every error is OpenAI's envelope. Bodies, prompts and answers reach no log and no error. `/health` and
`/ready` tell that the engine lives: a replica that ends does not listen. `/metrics` needs a key with that scope.
This module knows nothing of Ray, and of models only the `Engine` interface.
"""

# No `from __future__ import annotations` here: FastAPI resolves the routes' annotations.

import json
import logging
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from pipeline.config import Serve
from serve_app import errors
from serve_app.engines import BusyError, Engine, EngineError, RefusedError
from serve_app.generation.admission import Admission, unless_gone
from serve_app.generation.answer import Job
from serve_app.generation.guard import Guard
from serve_app.http import openapi, page
from serve_app.http.access import Access
from serve_app.http.middleware import PLAYGROUND, RECORD, Door, reply
from serve_app.keys import Keyring
from serve_app.observe import metrics, request_log
from serve_app.observe.request import RequestRecord
from serve_app.observe.request_log import Journal
from serve_app.openai_api import prepare, stream
from serve_app.openai_api.chat import ChatRequest, Completion, Model, Models
from serve_app.openai_api.completions import CompletionRequest, TextCompletion
from serve_app.openai_api.formats import ChatFormat, Format, TextFormat

log = logging.getLogger("solotune.serve")


class Direct(APIRoute):
    """A route whose body pydantic reads at once: FastAPI's own way costs every request 30 us more."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI's `APIRoute`: pydantic reads the body's bytes, and no model is dumped and read again."""
        field: Any = self.body_field
        model = field.field_info.annotation
        answer: Callable[[Any], Coroutine[Any, Any, Response]] = self.endpoint

        async def handle(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise errors.bad_request("The body must be sent as application/json.")
            try:
                given = model.model_validate_json(await request.body())
            except ValidationError as error:
                raise RequestValidationError(error.errors(include_url=False, include_input=False)) from None
            return await answer(given)

        return handle


class Reply(Response):
    """Generates an answer while it sends it: admitted, cancelled with its client, its place given back at the end."""

    def __init__(self, engine: Engine, guard: Guard | None, admission: Admission, job: Job, form: Format) -> None:
        self.engine, self.guard, self.admission, self.job, self.form = engine, guard, admission, job, form
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if RECORD in scope:
            scope[RECORD].job = self.job
        self.job.crowd = lambda: self.admission.held
        with self.admission.place(len(self.job.generations)):
            work = self._stream(send) if self.job.stream else self._whole(scope, receive, send)
            await unless_gone(receive, work)

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        done = await stream.completion(self.engine, self.guard, self.job, self.form)
        await Response(done.model_dump_json(), media_type="application/json")(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        async with aclosing(stream.events(self.engine, self.guard, self.job, self.form)) as events:
            first = await anext(events)
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._body(send, first)
            async for event in events:
                await self._body(send, event)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @staticmethod
    async def _body(send: Send, text: str) -> None:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


def build(
    engine: Engine,
    settings: Serve,
    keyring: Keyring,
    lines: Journal | None = None,
    guard: Guard | None = None,
) -> FastAPI:
    """Returns the application. Without `lines` the log of requests goes to `log`."""
    app = FastAPI(title="solotune", version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.admission = admission = Admission(settings.concurrency + settings.queue)
    access = Access(keyring)
    counted = metrics.Metrics(engine.model_id, engine.max_context, settings.concurrency, admission)
    app.add_middleware(Door, settings=settings, access=access, on_end=_ending(access, counted, lines))
    if guard is not None:
        counted.registry.register(metrics.Guarded(guard.noted))
    _answer_errors(app)
    _generate(app, engine, guard, settings, admission)
    _tell_health(app, engine)
    _list_models(app, Model(id=engine.model_id, created=engine.created))
    _show(app, settings, counted)
    openapi.install(app, engine, settings)
    return app


def _ending(access: Access, counted: metrics.Metrics, lines: Journal | None) -> Callable[[RequestRecord], None]:
    """Returns what is done at the end of every request."""
    if lines is not None:
        counted.gauge("solotune:log_lines_dropped", "Lines that the log has lost.", lambda: lines.dropped)

    def end(record: RequestRecord) -> None:
        if record.key is not None and record.job is not None:
            access.spend(record.key, record.job.usage.total_tokens)
        counted.count(record)
        entry = request_log.entry(record)
        if lines is not None:
            lines.write(entry)
        else:
            log.info("%s", json.dumps(entry))

    return end


def _show(app: FastAPI, settings: Serve, counted: metrics.Metrics) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def scrape() -> Response:
        return Response(counted.text(), media_type=metrics.CONTENT_TYPE)

    if settings.playground:
        page_bytes, headers = page.load("playground.html")

        @app.get(PLAYGROUND, include_in_schema=False)
        async def playground() -> Response:
            return Response(page_bytes, headers=headers)


def _generate(app: FastAPI, engine: Engine, guard: Guard | None, settings: Serve, admission: Admission) -> None:
    chat_format = ChatFormat(engine.codec, engine.model_id)
    text_format = TextFormat(engine.codec, engine.model_id)
    tells_tokens = guard is None or not guard.rewrites

    async def chat_completions(request: ChatRequest) -> Response:
        admission.expect(1)
        if guard is not None and guard.looks_in:
            request = request.saying(await guard.inbound(request.texts))
        job = prepare.chat(engine, settings, request, tells_tokens)
        return Reply(engine, guard, admission, job, chat_format)

    async def completions(request: CompletionRequest) -> Response:
        admission.expect(1)
        if guard is not None and guard.looks_in:
            request = await _guarded(engine, guard, request)
        job = prepare.completion(engine, settings, request, tells_tokens)
        return Reply(engine, guard, admission, job, text_format)

    kind: dict[str, Any] = {"methods": ["POST"], "responses": openapi.STREAMED, "route_class_override": Direct}
    app.router.add_api_route("/v1/chat/completions", chat_completions, response_model=Completion, **kind)
    app.router.add_api_route("/v1/completions", completions, response_model=TextCompletion, **kind)


async def _guarded(engine: Engine, guard: Guard, request: CompletionRequest) -> CompletionRequest:
    """Returns the request as the guard lets it in; a prompt of token ids is read for it."""
    codec = engine.codec
    texts = [p if isinstance(p, str) else codec.decode(p) if codec is not None else "" for p in request.prompts]
    seen = await guard.inbound(texts)
    pairs = zip(request.prompts, texts, seen, strict=True)
    return request.saying([prompt if text == new else new for prompt, text, new in pairs])


def _tell_health(app: FastAPI, engine: Engine) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        await engine.check()
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        await engine.check()
        return {"status": "ready"}


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

    @app.exception_handler(RefusedError)
    async def unwilling(_: Request, error: RefusedError) -> Response:
        return reply(errors.bad_request(str(error), error.param, "invalid_value"))

    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> Response:
        return reply(errors.busy())

    @app.exception_handler(EngineError)
    async def broken(_: Request, error: EngineError) -> Response:
        log.error("the engine failed: %s", error)
        return reply(errors.unavailable())
