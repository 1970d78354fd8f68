"""The url engine asks one address, follows nothing, passes nothing on, and turns every failure into a clean answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from pipeline.config import Project
from pipeline.errors import ConfigError
from serve_app.engines import BusyError, EngineError, Generation, Prompt, RefusedError
from serve_app.engines.url import UrlEngine
from tests.serve_app.client import ASK, CHAT, envelope, talk
from tests.serve_app.conformance import chunks_of, said
from tests.serve_app.upstream import serving

SECRET = "my card 4111"


class Upstream:
    """A server that answers what it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Response = PlainTextResponse("")
        self.asked: list[tuple[str, dict[str, Any], str]] = []
        self.app = Starlette(routes=[Route("/{path:path}", self.reply, methods=["GET", "POST"])])
        self.base = ""

    async def reply(self, request: Request) -> Response:
        body = await request.json() if request.method == "POST" else {}
        self.asked.append((request.url.path, body, request.headers.get("authorization", "")))
        return self.answer

    def engine(self, **settings: Any) -> UrlEngine:
        url = {"base_url": f"{self.base}/v1/", "model": "theirs", **settings}
        serve = {"engine": "url", "url": url, "max_new_tokens": 100, "max_input_tokens": 150}
        return UrlEngine(Project.model_validate({"name": "tiny", "base_model": "org/model", "serve": serve}))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    with serving(made.app) as made.base:
        yield made


def generate(engine: UrlEngine, **settings: Any) -> Any:
    prompt = settings.pop("prompt", Prompt([], messages=ASK["messages"]))

    async def run() -> Any:
        try:
            return await chunks_of(engine, Generation(prompt, 50, **settings))
        finally:
            await engine.stop()

    return asyncio.run(run())


def sse(*events: str) -> Response:
    return Response("".join(f"data: {event}\n\n" for event in events), media_type="text/event-stream")


USAGE = '{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}'
END = '{"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}'


def test_a_request_carries_the_key_and_what_is_not_at_its_default(upstream: Upstream, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-theirs\n")
    upstream.answer = sse('{"choices": [{"delta": {"content": "Gr\\u00fc\\u00dfe"}}]}', END, USAGE, "[DONE]")
    chunks = generate(upstream.engine(key_file=str(key)))
    assert said(chunks) == ([], "Grüße")
    assert (chunks[-1].finish_reason, chunks[-1].usage) == ("stop", (7, 2))
    path, body, authorization = upstream.asked[0]
    assert (path, authorization) == (CHAT, "Bearer sk-theirs")
    assert set(body) == {"model", "messages", "max_tokens", "stream", "stream_options"}
    assert body["model"] == "theirs"
    generate(
        upstream.engine(),
        prompt=Prompt([], text="go on"),
        temperature=0.5,
        seed=3,
        stops=("a",),
        presence_penalty=1.0,
        schema={"type": "object"},
    )
    path, body, authorization = upstream.asked[1]
    assert (path, authorization) == ("/v1/completions", "")
    assert (body["prompt"], body["temperature"], body["seed"], body["stop"]) == ("go on", 0.5, 3, ["a"])
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (JSONResponse({"error": {"message": SECRET, "param": "seed"}}, 400), RefusedError),
        (JSONResponse({"error": SECRET}, 422), RefusedError),
        (PlainTextResponse(SECRET, 401), EngineError),
        (PlainTextResponse(SECRET, 404), EngineError),
        (PlainTextResponse(SECRET, 429), BusyError),
        (PlainTextResponse(SECRET, 500), EngineError),
        (RedirectResponse("http://169.254.169.254/latest/meta-data", 307), EngineError),
        (sse(SECRET), EngineError),
        (sse("[]"), EngineError),
        (sse(f'{{"error": {{"message": "{SECRET}"}}}}'), EngineError),
        (sse('{"choices": [{"delta": {"content": 5}}]}'), EngineError),
        (sse('{"choices": [{"delta": {"content": "half"}}]}'), EngineError),
        (sse(END, "[DONE]"), EngineError),
        (PlainTextResponse(""), EngineError),
    ],
)
def test_a_failure_there_is_a_clean_error_here(upstream: Upstream, answer: Response, kind: type[EngineError]) -> None:
    upstream.answer = answer
    with pytest.raises(kind) as caught:
        generate(upstream.engine())
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    assert len(upstream.asked) == 1  # a redirect is not followed
    if kind is RefusedError:
        assert caught.value.param in ("seed", None)  # type: ignore[attr-defined]


def test_what_the_client_says_never_becomes_an_address(upstream: Upstream) -> None:
    upstream.answer = sse('{"choices": [{"text": "x", "finish_reason": "length"}]}', USAGE, "[DONE]")
    for text in ("http://169.254.169.254/", "../../admin", "@evil.example/"):
        generate(upstream.engine(), prompt=Prompt([], text=text))
    assert {path for path, _, _ in upstream.asked} == {"/v1/completions"}


def test_a_server_that_is_gone_is_a_503_and_not_ready() -> None:
    serve = {"engine": "url", "url": {"base_url": "http://127.0.0.1:9", "model": "m"}}
    engine = UrlEngine(Project.model_validate({"name": "tiny", "base_model": "org/model", "serve": serve}))

    async def step(client: Any) -> Any:
        got = await client.post(CHAT, json=ASK), await client.get("/ready")
        await engine.stop()
        return got

    for response in talk(engine, step):
        assert response.status_code == 503
        assert envelope(response)["code"] == "unavailable"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/v1",
        "file:///etc/passwd",
        "http://",
        "http://user:word@host/v1",
        "http://host/v1?to=http://other",
        "http://host/v1#x",
        "host:8000",
    ],
)
def test_a_base_url_is_http_and_nothing_else(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Project.model_validate(
            {"name": "t", "base_model": "o/m", "serve": {"engine": "url", "url": {"base_url": url, "model": "m"}}}
        )


def test_the_engine_needs_its_settings_and_its_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="base_url"):
        Project.model_validate({"name": "t", "base_model": "o/m", "serve": {"engine": "url"}})
    url = {"base_url": "http://host", "model": "m", "key_file": str(tmp_path / "none")}
    project = Project.model_validate({"name": "t", "base_model": "o/m", "serve": {"engine": "url", "url": url}})
    with pytest.raises(ConfigError, match="key_file"):
        UrlEngine(project)
