"""Both APIs over the fake engine: formats, options, capabilities, deadlines, request ids."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

import httpx
import pytest

from pipeline.config import Serve
from serve_app.engines import BusyError, Generation, Prompt, RefusedError
from serve_app.engines.fake import FakeEngine
from serve_app.engines.gguf import GgufEngine
from serve_app.engines.vllm import VllmEngine
from serve_app.openai_api import prepare
from serve_app.openai_api.chat import Completion
from serve_app.openai_api.completions import TextCompletion
from tests.serve_app.client import (
    ASK,
    CHAT,
    KEY,
    SETTINGS,
    TEXT,
    application,
    envelope,
    events,
    post,
    talk,
)

PROMPT: dict[str, Any] = {"model": "tiny", "prompt": "How do I"}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine("tiny", 250)


def made(engine: FakeEngine, prompt: list[int], count: int = 100, **settings: Any) -> str:
    return engine.codec.decode(engine.answer(Generation(Prompt(prompt), count, **settings)))


def test_several_choices_differ_and_a_seed_gives_them_again(engine: FakeEngine) -> None:
    body = {**ASK, "n": 3, "seed": 7}
    first, second = post(engine, CHAT, body).json(), post(engine, CHAT, body).json()
    Completion.model_validate(first, strict=True)
    texts = [choice["message"]["content"] for choice in first["choices"]]
    assert [choice["index"] for choice in first["choices"]] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert texts == [choice["message"]["content"] for choice in second["choices"]]
    ids = engine.codec.render(ASK["messages"])
    assert texts == [made(engine, ids, seed=7 + index) for index in range(3)]
    assert first["usage"]["prompt_tokens"] == len(ids)
    whole = sum(len(engine.answer(Generation(Prompt(ids), 100, seed=7 + index))) for index in range(3))
    assert first["usage"]["completion_tokens"] == whole


def test_a_stream_of_several_choices_joins_to_the_plain_answers(engine: FakeEngine) -> None:
    body = {**ASK, "n": 3, "seed": 7, "logprobs": True, "top_logprobs": 2}
    plain = post(engine, CHAT, body).json()
    got = events(post(engine, CHAT, {**body, "stream": True, "stream_options": {"include_usage": True}}))
    assert got.pop() == "[DONE]"
    assert got.pop()["usage"] == plain["usage"]
    for choice in plain["choices"]:
        mine = [chunk["choices"][0] for chunk in got if chunk["choices"][0]["index"] == choice["index"]]
        assert mine[0]["delta"]["role"] == "assistant"
        assert "".join(part["delta"].get("content", "") for part in mine) == choice["message"]["content"]
        scored = [one for part in mine if part["logprobs"] for one in part["logprobs"]["content"]]
        assert scored == choice["logprobs"]["content"]
        assert [part["finish_reason"] for part in mine] == [None] * (len(mine) - 1) + [choice["finish_reason"]]


@pytest.mark.parametrize("top", [None, 0, 3])
def test_log_probabilities_of_a_chat(engine: FakeEngine, top: int | None) -> None:
    body = {**ASK, "temperature": 0, "logprobs": True} | ({} if top is None else {"top_logprobs": top})
    choice = post(engine, CHAT, body).json()["choices"][0]
    content = choice["logprobs"]["content"]
    assert choice["logprobs"]["refusal"] is None
    assert bytes(byte for one in content for byte in one["bytes"]).decode() == choice["message"]["content"]
    for one in content:
        assert len(one["top_logprobs"]) == (top or 0)
        assert one["token"] == bytes(one["bytes"]).decode(errors="replace")
        if top:
            assert one["top_logprobs"][0] == {key: one[key] for key in ("token", "bytes", "logprob")}


def test_a_text_completion_continues_every_prompt(engine: FakeEngine) -> None:
    body = post(engine, TEXT, {**PROMPT, "prompt": ["one", "two"], "n": 2, "seed": 3, "max_tokens": 40}).json()
    TextCompletion.model_validate(body, strict=True)
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    expected = [made(engine, list(prompt.encode()), 40, seed=seed) for prompt in ("one", "two") for seed in (3, 4)]
    assert [choice["text"] for choice in body["choices"]] == expected
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"]["prompt_tokens"] == 6


def test_a_text_completion_takes_token_ids_and_echoes(engine: FakeEngine) -> None:
    ids = list(b"How do I")
    for prompt in (ids, [ids]):
        body = post(engine, TEXT, {**PROMPT, "prompt": prompt, "temperature": 0, "echo": True}).json()
        assert body["choices"][0]["text"] == "How do I" + made(engine, ids, 16, temperature=0)
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 16  # OpenAI's default for this API
    streamed = events(post(engine, TEXT, {**PROMPT, "temperature": 0, "echo": True, "stream": True}))
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed[:-1]) == "How do I" + made(
        engine, ids, 16, temperature=0
    )
    assert streamed[0]["choices"][0]["text"] == "How do I"
    assert streamed[-2]["choices"][0]["finish_reason"] == "length"


def test_log_probabilities_of_a_text(engine: FakeEngine) -> None:
    body = post(engine, TEXT, {**PROMPT, "seed": 1, "logprobs": 2, "max_tokens": 60}).json()
    scores = body["choices"][0]["logprobs"]
    count = len(scores["tokens"])
    assert count == len(scores["token_logprobs"]) == len(scores["top_logprobs"]) == len(scores["text_offset"])
    assert all(len(top) == 2 for top in scores["top_logprobs"])
    assert scores["text_offset"] == sorted(scores["text_offset"])
    assert post(engine, TEXT, {**PROMPT, "logprobs": 0}).json()["choices"][0]["logprobs"]["top_logprobs"] is None


@pytest.mark.parametrize(
    ("path", "changes", "param"),
    [
        (CHAT, {"n": 9}, "n"),
        (TEXT, {"prompt": ["a"] * 9}, "prompt"),
        (TEXT, {"prompt": ""}, "prompt"),
        (TEXT, {"prompt": [999]}, "prompt"),
        (TEXT, {"prompt": [0] * 151}, "prompt"),
        (TEXT, {"prompt": [-1]}, None),
        (TEXT, {"prompt": []}, None),
        (TEXT, {"echo": True, "logprobs": 1}, None),
        (TEXT, {"best_of": 2}, None),
        (TEXT, {"suffix": "x"}, "suffix"),
        (CHAT, {"top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"stream_options": {"include_usage": True}}, "stream_options"),
        (CHAT, {"max_tokens": 101}, "max_tokens"),
        (CHAT, {"max_completion_tokens": 101}, "max_completion_tokens"),
        (CHAT, {"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_what_cannot_be_answered_is_a_400_that_names_it(
    engine: FakeEngine, path: str, changes: dict[str, Any], param: str | None
) -> None:
    response = post(engine, path, {**(ASK if path == CHAT else PROMPT), **changes})
    assert response.status_code == 400
    error = envelope(response)
    assert param is None or error["param"] == param


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"logprobs": True},
        {"frequency_penalty": 0.1},
        {"presence_penalty": -0.1},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
    ],
)
def test_what_the_engine_cannot_is_refused_by_name(engine: FakeEngine, changes: dict[str, Any]) -> None:
    engine.options = frozenset()
    error = envelope(post(engine, CHAT, {**ASK, **changes}))
    assert (error["param"], error["code"]) == (next(iter(changes)), "unsupported_parameter")
    neutral = {"frequency_penalty": 0, "presence_penalty": 0.0, "seed": None, "logprobs": False}
    assert post(engine, CHAT, {**ASK, **neutral, "response_format": {"type": "text"}}).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "param"),
    [(RefusedError("This schema cannot be.", "response_format"), 400, "response_format"), (BusyError("x"), 429, None)],
)
def test_an_engine_that_declines_is_no_server_error(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, stream: bool, error: Exception, status: int, param: str | None
) -> None:
    async def decline() -> None:
        raise error

    monkeypatch.setattr(engine, "check", decline)
    response = post(engine, CHAT, {**ASK, "stream": stream})
    assert response.status_code == status
    assert envelope(response)["param"] == param


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_beyond_its_deadline_is_a_408(stream: bool) -> None:
    engine = FakeEngine("tiny", 250, interval=0.05, length=0)
    response = post(engine, CHAT, {**ASK, "stream": stream}, SETTINGS.model_copy(update={"deadline": 0.3}))
    if stream:
        got = events(response)
        assert got[0]["choices"][0]["delta"]["role"] == "assistant"
        assert got[-1]["error"]["code"] == "timeout"
    else:
        assert response.status_code == 408
        assert envelope(response)["type"] == "timeout_error"
    assert engine.running == 0


def test_a_body_that_dribbles_in_is_a_408(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dribble() -> Any:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.05)

    async def step(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post(CHAT, content=dribble(), headers={"Content-Type": "application/json"})

    monkeypatch.setattr("serve_app.http.middleware.GRACE", 0.0)
    response = talk(engine, step, SETTINGS.model_copy(update={"deadline": 0.3}))
    assert response.status_code == 408
    envelope(response)


def test_a_client_that_stops_reading_is_cut_off_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("tiny", 250, length=0)
    monkeypatch.setattr("serve_app.http.middleware.GRACE", 0.2)
    app = application(engine, SETTINGS.model_copy(update={"deadline": 0.2}))
    body = json.dumps({**ASK, "stream": True}).encode()
    headers = [(b"authorization", f"Bearer {KEY}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b"", "scheme": "http"}
    sent: list[Any] = []

    async def run() -> None:
        given = [{"type": "http.request", "body": body}]

        async def receive() -> Any:
            return given.pop() if given else await asyncio.sleep(60)

        async def send(message: Any) -> None:
            sent.append(message)
            if message.get("body"):
                await asyncio.sleep(60)  # its window is full

        with pytest.raises(ConnectionAbortedError):
            await asyncio.wait_for(app({**scope, "root_path": ""}, receive, send), 5)

    asyncio.run(run())
    assert len(sent) == 2
    assert engine.running == 0
    assert app.state.admission.active == 0


def test_a_refusal_names_the_engine_that_could_do_it(engine: FakeEngine) -> None:
    error = envelope(post(engine, CHAT, {**ASK, "response_format": {"type": "json_object"}}))
    said = "This service's engine does not support response_format: it needs the engine vllm or gguf (`serve.engine`)."
    assert (error["message"], error["code"]) == (said, "unsupported_parameter")
    for option, able in prepare.ABLE.items():
        assert [one.__name__ for one in (GgufEngine, VllmEngine) if option in one.options] == [
            "GgufEngine",
            "VllmEngine",
        ]
        assert able.endswith("vllm or gguf")
    error = envelope(post(engine, CHAT, {**ASK, "n": 9}))
    assert (error["message"], error["param"]) == ("n is too large: this service makes at most 8 answers at once.", "n")


def test_choices_count_as_places(engine: FakeEngine) -> None:
    settings = Serve(max_new_tokens=100, max_input_tokens=150, concurrency=1, queue=1)
    assert post(engine, CHAT, {**ASK, "n": 2}, settings).status_code == 200
    response = post(engine, CHAT, {**ASK, "n": 3}, settings)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"


def test_every_response_has_an_id(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    async def step(client: httpx.AsyncClient) -> list[httpx.Response]:
        headers = {"x-request-id": "my card zzyx"}
        return [
            await client.post(CHAT, json=ASK, headers=headers),
            await client.post(CHAT, json={**ASK, "stream": True}, headers=headers),
            await client.get("/v1/models/zzyx"),
            await client.post(CHAT, content=b"zzyx"),
            await client.get("/zzyx"),
            await client.get("/health"),
        ]

    with caplog.at_level(logging.DEBUG, logger="solotune.serve"):
        responses = talk(engine, step)
    ids = [response.headers["x-request-id"] for response in responses]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", one) for one in ids)
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [line["request_id"] for line in lines] == ids
    assert (lines[0]["method"], lines[0]["route"], lines[0]["status"]) == ("POST", CHAT, 200)
    assert lines[0]["completion_tokens"] > 0
    assert (lines[4]["route"], lines[4]["status"]) == ("unknown", 404)
    assert "zzyx" not in caplog.text


def test_prompts_and_answers_reach_no_log(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    secret = "xyzzy plugh"
    with caplog.at_level(logging.DEBUG):
        for body in (
            {**ASK, "messages": [{"role": "user", "content": secret}]},
            {**ASK, "messages": [{"role": secret, "content": secret}]},
            {**ASK, "model": secret},
            {**ASK, secret: secret},
            {**ASK, "stop": [secret], "user": secret},
        ):
            response = post(engine, CHAT, body)
            assert response.status_code == 200 or "plugh" not in response.text
            assert "plugh" not in str(response.headers)
    assert "plugh" not in caplog.text
    assert "xyzzy" not in caplog.text


def test_a_length_that_is_no_number_is_a_400(engine: FakeEngine) -> None:
    for length, status in (("x", 400), ("-1", 400), ("9" * 30, 413), ("٣", 400)):
        headers = {"content-length": length.encode() if length.isascii() else length.encode("utf-8")}

        async def step(client: httpx.AsyncClient, headers: Any = headers) -> httpx.Response:
            return await client.post(CHAT, content=b"", headers=headers)

        assert talk(engine, step).status_code == status


def test_the_document_knows_routes_keys_errors_and_limits(engine: FakeEngine) -> None:
    async def step(client: httpx.AsyncClient) -> Any:
        return (await client.get("/openapi.json")).json()

    document = talk(engine, step)
    assert set(document["paths"]) == {"/health", "/ready", "/v1/models", "/v1/models/{model_id}", TEXT, CHAT}
    chat = document["paths"][CHAT]["post"]
    assert chat["security"] == [{"key": []}]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    for status in ["400", "401", "403", "404", "405", "408", "413", "415", "422", "429", "500", "503"]:
        schema = chat["responses"][status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Error"}
    properties = document["components"]["schemas"]["ChatRequest"]["properties"]
    assert properties["model"]["enum"] == ["tiny"]
    assert {"type": "integer", "minimum": 1, "maximum": 100} in properties["max_tokens"]["anyOf"]
    assert properties["tools"]["enum"] == [None, []]
