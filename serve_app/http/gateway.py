"""The HTTP surface: an ASGI application around one engine.

Output contract: every route needs a key but `/health`, `/ready` and, where it is switched on, the playground's page;
`/metrics` needs a key with that scope. Every error has OpenAI's envelope. Bodies, prompts and answers reach no log and
no error. `/health` and `/ready` answer 200 while the engine can generate: a replica that ends does not listen.
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
from starlette.types import Message, Receive, Scope, Send

from pipeline.config import Serve
from serve_app import errors
from serve_app.engines import BusyError, Engine, EngineError, RefusedError
from serve_app.generation.admission import Admission, while_connected
from serve_app.generation.answer import Job
from serve_app.generation.guard import Guard
from serve_app.http import openapi, page, paths
from serve_app.http.access import Access
from serve_app.http.middleware import PLAYGROUND, RECORD, Middleware, error_response
from serve_app.keys import Keyring
from serve_app.observe import metrics, request_log
from serve_app.observe.request import RequestRecord
from serve_app.observe.request_log import LogWriter
from serve_app.openai_api import prepare, stream
from serve_app.openai_api.chat import ChatRequest, Completion, Model, Models
from serve_app.openai_api.completions import CompletionRequest, TextCompletion
from serve_app.openai_api.formats import ChatFormat, Format, TextFormat

log = logging.getLogger("solotune.serve")

EVENT_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class JsonRoute(APIRoute):
    """A route whose body pydantic reads at once: FastAPI's own way costs every request 30 us more."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI's `APIRoute`: pydantic reads the body's bytes, and no model is dumped and read again."""
        field: Any = self.body_field
        model = field.field_info.annotation
        endpoint: Callable[[Any], Coroutine[Any, Any, Response]] = self.endpoint

        async def handle(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise errors.bad_request("The body must be sent as application/json.")
            if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise errors.coded()
            try:
                body = model.model_validate_json(await request.body())
            except ValidationError as error:
                raise RequestValidationError(error.errors(include_url=False)) from None
            return await endpoint(body)

        return handle


class GeneratedResponse(Response):
    """Generates an answer while it sends it, in a slot of its own; ends when its client hangs up."""

    def __init__(self, engine: Engine, guard: Guard | None, admission: Admission, job: Job, form: Format) -> None:
        self.engine, self.guard, self.admission, self.job, self.form = engine, guard, admission, job, form
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if RECORD in scope:
            scope[RECORD].job = self.job
        self.job.active = lambda: self.admission.active
        answer = self.engine, self.guard, self.job, self.form
        with self.admission.slot(len(self.job.generations)):
            async with while_connected(receive):
                if not self.job.stream:
                    whole = await stream.completion(*answer)
                    await Response(whole.model_dump_json(), media_type="application/json")(scope, receive, send)
                    return
                async with aclosing(stream.events(*answer)) as events:
                    first = await anext(events)
                    await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
                    await send(_part(first))
                    async for event in events:
                        await send(_part(event))
                await send({"type": "http.response.body", "body": b"", "more_body": False})


def _part(text: str) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


def build(
    engine: Engine, settings: Serve, keyring: Keyring, log_writer: LogWriter | None = None, guard: Guard | None = None
) -> FastAPI:
    """Returns the application. Without a `log_writer` the log of requests goes to `log`."""
    app = FastAPI(title="solotune", version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.admission = admission = Admission(settings.concurrency + settings.queue)
    access = Access(keyring)
    registry = metrics.Metrics(engine.model_id, engine.max_context, settings.concurrency, admission)
    on_end = _on_end(access, registry, log_writer)
    app.add_middleware(Middleware, settings=settings, access=access, on_end=on_end, routes=app.router.routes)
    if guard is not None:
        registry.registry.register(metrics.GuardFindings(guard.finding_counts))
    for kind in (errors.ApiError, RequestValidationError, HTTPException, EngineError):
        app.add_exception_handler(kind, _answer_error)
    _add_generation(app, engine, guard, settings, admission)
    _add_health(app, engine)
    _add_models(app, Model(id=engine.model_id, created=engine.created))
    _add_metrics_and_playground(app, settings, registry)
    openapi.install(app, engine, settings)
    return app


def _on_end(access: Access, registry: metrics.Metrics, log_writer: LogWriter | None) -> Callable[[RequestRecord], None]:
    """Returns the function that counts and logs a request at its end."""
    if log_writer is not None:
        registry.gauge("solotune:log_lines_dropped", "Lines that the log has lost.", lambda: log_writer.dropped)

    def end(record: RequestRecord) -> None:
        if record.key is not None and record.job is not None:
            access.spend(record.key, record.job.usage.total_tokens)
        registry.count(record)
        entry = request_log.entry(record)
        if log_writer is not None:
            log_writer.write(entry)
        else:
            log.info("%s", json.dumps(entry))

    return end


def _add_metrics_and_playground(app: FastAPI, settings: Serve, registry: metrics.Metrics) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def scrape() -> Response:
        return Response(registry.text(), media_type=metrics.CONTENT_TYPE)

    if settings.playground:
        page_bytes, headers = page.load("playground.html")

        @app.get(PLAYGROUND, include_in_schema=False)
        async def playground() -> Response:
            return Response(page_bytes, headers=headers)


def _add_generation(app: FastAPI, engine: Engine, guard: Guard | None, settings: Serve, admission: Admission) -> None:
    chat_format = ChatFormat(engine.codec, engine.model_id)
    text_format = TextFormat(engine.codec, engine.model_id)
    gives_logprobs = guard is None or not guard.rewrites

    async def chat_completions(request: ChatRequest) -> Response:
        admission.require(1)
        if guard is not None and guard.checks_input:
            request = request.with_texts(await guard.inbound(request.texts))
        job = prepare.chat(engine, settings, request, gives_logprobs)
        return GeneratedResponse(engine, guard, admission, job, chat_format)

    async def completions(request: CompletionRequest) -> Response:
        admission.require(1)
        if guard is not None and guard.checks_input:
            request = await _guarded(engine, guard, request)
        job = prepare.completion(engine, settings, request, gives_logprobs)
        return GeneratedResponse(engine, guard, admission, job, text_format)

    kind: dict[str, Any] = {"methods": ["POST"], "responses": openapi.STREAMED, "route_class_override": JsonRoute}
    app.router.add_api_route("/v1/chat/completions", chat_completions, response_model=Completion, **kind)
    app.router.add_api_route("/v1/completions", completions, response_model=TextCompletion, **kind)


async def _guarded(engine: Engine, guard: Guard, request: CompletionRequest) -> CompletionRequest:
    """Returns the request with the guard's prompts; a prompt of token ids is decoded for it."""
    codec = engine.codec
    texts = [p if isinstance(p, str) else codec.decode(p) if codec is not None else "" for p in request.prompts]
    guarded = await guard.inbound(texts)
    pairs = zip(request.prompts, texts, guarded, strict=True)
    return request.with_prompts([prompt if text == new else new for prompt, text, new in pairs])


def _add_health(app: FastAPI, engine: Engine) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        await engine.check()
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        await engine.check()
        return {"status": "ready"}


def _add_models(app: FastAPI, card: Model) -> None:
    @app.get("/v1/models")
    async def models() -> Models:
        return Models(data=[card])

    @app.get("/v1/models/{model_id:path}")
    async def model(model_id: str) -> Model:
        if model_id != card.id:
            raise errors.unknown_model()
        return card


async def _answer_error(request: Request, error: Exception) -> Response:
    """Returns an expected error in OpenAI's envelope."""
    match error:
        case errors.ApiError():
            return error_response(error)
        case RequestValidationError():
            return error_response(errors.of_validation(error.errors()))
        case HTTPException(status_code=404):
            return error_response(paths.not_found(request.scope["path"]))
        case HTTPException():
            headers = dict(error.headers or {})
            if headers.get("Allow") == "GET":
                headers["Allow"] = "GET, HEAD"
            return error_response(errors.of_status(error.status_code, headers))
        case RefusedError():
            return error_response(errors.bad_request(str(error), error.param, "invalid_value"))
        case BusyError():
            return error_response(errors.busy())
    log.error("the engine failed: %s", error)
    return error_response(errors.unavailable())
