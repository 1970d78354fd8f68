"""The official Python client over a socket: plain, streamed, sync, async, errors, timeouts, retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from pipeline.config import Serve
from serve_app.engines.fake import FakeEngine
from tests.serve_app.client import ASK, KEY, application
from tests.serve_app.upstream import serving

SETTINGS = Serve(max_new_tokens=200, max_input_tokens=150, concurrency=4, queue=4)
COUNTED: Any = {"stream": True, "stream_options": {"include_usage": True}}


class Service:
    def __init__(self, base: str, engine: FakeEngine, app: Any) -> None:
        self.base, self.engine, self.app = base, engine, app

    def client(self, **settings: Any) -> OpenAI:
        return OpenAI(**{"base_url": f"{self.base}/v1", "api_key": KEY, "max_retries": 0, "timeout": 20, **settings})


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    engine = FakeEngine("tiny", 400)
    app = application(engine, SETTINGS)
    with serving(app) as base:
        yield Service(base, engine, app)


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    running.engine.interval, running.engine.length = 0.0, 12
    yield running
    started = time.monotonic()
    while running.app.state.admission.active or running.engine.running:  # nothing is left behind
        assert time.monotonic() < started + 5
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["create", "stream", "parse"])
@pytest.mark.parametrize("dumped", [False, True])
def test_a_second_turn_holds_the_first_answer_as_the_client_has_it(service: Service, how: str, dumped: bool) -> None:
    with service.client() as client:
        if how == "stream":
            with client.chat.completions.stream(**ASK) as stream:
                answer: Any = stream.get_final_completion().choices[0].message
        else:
            answer = getattr(client.chat.completions, how)(**ASK, stop=["\x00"]).choices[0].message
        messages = [*ASK["messages"], answer.model_dump() if dumped else answer, {"role": "user", "content": "And?"}]
        second = client.chat.completions.create(model=ASK["model"], messages=messages, max_tokens=5)
    assert second.choices[0].message.content


def test_plain_and_streamed_chats_say_the_same(service: Service) -> None:
    with service.client() as client:
        plain = client.chat.completions.create(**ASK, seed=1, n=2, logprobs=True, top_logprobs=2)
        chunks = list(client.chat.completions.create(**ASK, seed=1, n=2, logprobs=True, top_logprobs=2, **COUNTED))
    assert plain.object == "chat.completion"
    assert chunks[-1].usage == plain.usage
    for choice in plain.choices:
        mine = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == choice.index]
        assert "".join(part.delta.content or "" for part in mine) == choice.message.content
        assert mine[-1].finish_reason == choice.finish_reason
        assert choice.logprobs is not None
        scored = [one for part in mine if part.logprobs for one in part.logprobs.content or []]
        assert scored == choice.logprobs.content


def test_text_completions_plain_and_streamed(service: Service) -> None:
    ask: Any = {"model": "tiny", "prompt": ["one", "two"], "seed": 1, "logprobs": 2, "max_tokens": 30}
    with service.client() as client:
        plain = client.completions.create(**ask)
        chunks = list(client.completions.create(**ask, **COUNTED))
    assert chunks[-1].usage == plain.usage
    for choice in plain.choices:
        mine = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == choice.index]
        assert "".join(part.text for part in mine) == choice.text


def test_the_async_client_runs_many_at_once_and_is_told_when_it_is_too_many(service: Service) -> None:
    service.engine.interval = 0.01

    async def run() -> list[Any]:
        async with AsyncOpenAI(base_url=f"{service.base}/v1", api_key=KEY, max_retries=0) as client:

            async def one(number: int) -> Any:
                if number % 2:
                    return await client.chat.completions.create(**ASK, seed=number)
                stream = await client.chat.completions.create(**ASK, seed=number, stream=True)
                return [chunk async for chunk in stream]

            return await asyncio.gather(*[one(number) for number in range(30)], return_exceptions=True)

    got = asyncio.run(run())
    refused = [one for one in got if isinstance(one, openai.RateLimitError)]
    assert 0 < len(refused) <= 30 - 8
    assert all(one.code == "rate_limit_exceeded" and one.response.headers["retry-after"] == "1" for one in refused)
    assert not [one for one in got if isinstance(one, BaseException) and not isinstance(one, openai.RateLimitError)]


def test_a_client_that_retries_gets_through(service: Service) -> None:
    service.engine.interval = 0.002

    async def run() -> list[Any]:
        async with AsyncOpenAI(base_url=f"{service.base}/v1", api_key=KEY, max_retries=5) as client:
            return await asyncio.gather(*[client.chat.completions.create(**ASK) for _ in range(12)])

    assert all(one.choices[0].message.content for one in asyncio.run(run()))


@pytest.mark.parametrize(
    ("changes", "kind", "code", "param"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "model_not_found", "model"),
        ({"temperature": 3}, openai.BadRequestError, "invalid_value", "temperature"),
        ({"logit_bias": {"5": 1}}, openai.BadRequestError, "unsupported_parameter", "logit_bias"),
        ({"extra_body": {"top_k": 4}}, openai.BadRequestError, "unknown_parameter", "top_k"),
        ({"max_tokens": 201}, openai.BadRequestError, "invalid_value", "max_tokens"),
        (
            {"messages": [{"role": "user", "content": "x" * 200}]},
            openai.BadRequestError,
            "context_length_exceeded",
            "messages",
        ),
    ],
)
def test_errors_are_the_client_s_own(service: Service, changes: Any, kind: Any, code: str, param: str) -> None:
    with service.client() as client, pytest.raises(kind) as caught:
        client.chat.completions.create(**{**ASK, **changes})
    assert (caught.value.code, caught.value.param, caught.value.type) == (code, param, "invalid_request_error")
    assert caught.value.request_id.startswith("req_")


def test_a_wrong_key_a_large_body_and_a_wrong_url(service: Service) -> None:
    with service.client(api_key="wrong") as stranger, pytest.raises(openai.AuthenticationError) as refused:
        stranger.models.list()
    assert refused.value.code == "invalid_api_key"
    with service.client() as client:
        with pytest.raises(openai.APIStatusError) as large:
            client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x" * (1 << 20)}])
        assert large.value.status_code == 413
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="tiny", input="x")
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert client.models.retrieve("tiny").owned_by == "solotune"


def test_the_deadline_reaches_the_client_plain_and_streamed() -> None:
    app = application(FakeEngine("tiny", 400, interval=0.05, length=0), SETTINGS.model_copy(update={"deadline": 0.5}))
    with serving(app) as base, OpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as late:
            client.chat.completions.create(**ASK)
        assert (late.value.status_code, late.value.code) == (408, "timeout")
        with pytest.raises(openai.APIError) as cut:
            list(client.chat.completions.create(**ASK, stream=True))
        assert cut.value.code == "timeout"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_gives_up_ends_the_work(service: Service, stream: bool) -> None:
    service.engine.interval, service.engine.length = 0.1, 0
    with service.client(timeout=0.3) as client:
        if stream:
            with client.chat.completions.create(**ASK, stream=True) as chunks:
                next(chunks)
        else:
            with pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(**ASK)
    started = time.monotonic()
    while service.engine.running:
        assert time.monotonic() < started + 1  # long before the deadline
        time.sleep(0.01)


def test_structured_answers_are_refused_by_an_engine_that_cannot(service: Service) -> None:
    with service.client() as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ASK, response_format={"type": "json_object"})
    assert (caught.value.param, caught.value.code) == ("response_format", "unsupported_parameter")


def test_the_raw_reply_carries_the_request_id(service: Service) -> None:
    with service.client() as client:
        raw = client.chat.completions.with_raw_response.create(**ASK)
        assert raw.headers["x-request-id"] == raw.request_id
        assert raw.parse()._request_id == raw.request_id
