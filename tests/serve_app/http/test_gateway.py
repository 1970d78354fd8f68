"""The application without Ray: envelopes, authentication, limits, streams."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

import httpx
import pytest

from pipeline.config import Serve
from serve_app.http import gateway
from tests.serve_app.client import ASK, KEY, KEYRING, envelope, events, talk

JSON = "application/json"
SETTINGS = Serve(max_new_tokens=100, max_input_tokens=150, concurrency=1, queue=1)


def post(engine: Any, settings: Serve = SETTINGS, key: str | None = KEY, **changes: Any) -> httpx.Response:
    async def step(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/v1/chat/completions", json={**ASK, **changes})

    response: httpx.Response = talk(engine, step, settings, key)
    return response


def send(engine: Any, method: str, path: str, key: str | None = KEY, **options: Any) -> httpx.Response:
    async def step(client: httpx.AsyncClient) -> httpx.Response:
        return await client.request(method, path, **options)

    response: httpx.Response = talk(engine, step, SETTINGS, key)
    return response


def test_a_plain_answer_is_whole_and_counted(scripted: Any) -> None:
    engine = scripted("Grüße aus 東京!")
    response = post(engine)
    assert response.status_code == 200
    body = response.json()
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Grüße aus 東京!", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    prompt = len(engine.requests[0].prompt.ids)
    count = len(engine.ids)
    assert body["usage"] == {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}


def test_a_stream_says_the_same_in_chunks(scripted: Any) -> None:
    engine = scripted("Grüße aus 東京!")
    got = events(post(engine, stream=True, stream_options={"include_usage": True}))
    assert got.pop() == "[DONE]"
    usage = got.pop()
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == len(engine.ids)
    assert all(chunk["usage"] is None and chunk["object"] == "chat.completion.chunk" for chunk in got)
    assert got[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [chunk["choices"][0]["finish_reason"] for chunk in got] == [None] * (len(got) - 1) + ["stop"]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in got) == "Grüße aus 東京!"
    assert len({chunk["id"] for chunk in got}) == 1


def test_without_include_usage_a_stream_holds_none(scripted: Any) -> None:
    assert all("usage" not in chunk for chunk in events(post(scripted("Hello"), stream=True))[:-1])


@pytest.mark.parametrize("chunk", [1, 50])
def test_a_stop_string_ends_the_answer_and_the_request(scripted: Any, chunk: int) -> None:
    engine = scripted("One. Two. Three.", chunk)
    body = post(engine, stop=["wo."]).json()
    assert body["choices"][0]["message"]["content"] == "One. T"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert engine.closed == 1
    if chunk == 1:
        assert body["usage"]["completion_tokens"] < len(engine.ids)


def test_max_tokens_ends_with_length(scripted: Any) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        body = post(scripted("Hello dear customer"), **{name: 2}).json()
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 2


def test_sampling_reaches_the_engine(scripted: Any) -> None:
    engine = scripted("x")
    post(engine, temperature=0.25, top_p=0.5, seed=7, max_tokens=3)
    request = engine.requests[0]
    assert (request.temperature, request.top_p, request.seed, request.max_tokens) == (0.25, 0.5, 7, 3)
    post(engine)
    assert (engine.requests[1].temperature, engine.requests[1].top_p, engine.requests[1].seed) == (1.0, 1.0, None)
    assert engine.requests[1].max_tokens == 100


def test_a_prompt_that_leaves_little_room_shortens_only_the_default(scripted: Any) -> None:
    engine = scripted("x" * 10)
    long = [{"role": "user", "content": "q" * 140}]
    assert post(engine, messages=long).status_code == 200
    prompt = len(engine.requests[0].prompt.ids)
    assert engine.requests[0].max_tokens == 200 - prompt < 100
    error = envelope(post(engine, messages=long, max_tokens=100))
    assert error["code"] == "context_length_exceeded"


@pytest.mark.parametrize("length", [200, 100_000])
def test_too_long_a_prompt_is_a_400(scripted: Any, length: int) -> None:
    response = post(scripted("x"), messages=[{"role": "user", "content": "q" * length}])
    assert response.status_code == 400
    assert envelope(response)["code"] == "context_length_exceeded"


@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "x"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/openapi.json", "/nowhere", "/health/x"])
def test_no_route_but_health_answers_without_a_key(scripted: Any, key: str | None, path: str) -> None:
    response = send(scripted("x"), "GET", path, key=key)
    assert response.status_code == 401
    assert envelope(response)["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"
    assert send(scripted("x"), "GET", "/health", key=key).json() == {"status": "ok"}


def test_a_wrong_scheme_is_401(scripted: Any) -> None:
    for value in (KEY, f"Basic {KEY}", "Bearer", "Bearer \xe9".encode("latin-1")):
        assert send(scripted("x"), "GET", "/v1/models", headers={"Authorization": value}).status_code == 401


def test_models_are_listed(scripted: Any) -> None:
    card = {"id": "tiny", "object": "model", "created": 1, "owned_by": "solotune"}
    assert send(scripted("x"), "GET", "/v1/models").json() == {"object": "list", "data": [card]}
    assert send(scripted("x"), "GET", "/v1/models/tiny").json() == card
    for response in (send(scripted("x"), "GET", "/v1/models/org/other"), post(scripted("x"), model="other")):
        assert response.status_code == 404
        assert envelope(response)["code"] == "model_not_found"
        assert "other" not in response.text


def test_a_compressed_body_is_a_415(scripted: Any) -> None:
    headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
    response = send(scripted("x"), "POST", "/v1/chat/completions", content=b"\x1f\x8b", headers=headers)
    assert response.status_code == 415
    assert "Content-Encoding" in envelope(response)["message"]
    headers["Content-Encoding"] = "identity"
    content = json.dumps(ASK).encode()
    assert send(scripted("x"), "POST", "/v1/chat/completions", content=content, headers=headers).status_code == 200


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_no_line_of_unicode_cuts_an_event_in_two(scripted: Any, character: str, path: str) -> None:
    text = f"One{character}two \u00e4"
    body = {"model": "tiny", "prompt": "x"} if path == "/v1/completions" else ASK
    response = send(scripted(text), "POST", path, json={**body, "stream": True})
    lines = response.text.splitlines()  # as httpx's `iter_lines` splits
    assert all(line == "" or line.startswith("data: ") for line in lines)
    chunks = [json.loads(line[6:])["choices"][0] for line in lines if line not in ("", "data: [DONE]")]
    assert "".join(chunk["delta"].get("content", "") if "delta" in chunk else chunk["text"] for chunk in chunks) == text
    assert "\u00e4" in response.text  # the rest stays readable


def test_unknown_routes_and_methods_have_the_envelope(scripted: Any) -> None:
    lost = send(scripted("x"), "GET", "/v1/secret-path")
    assert lost.status_code == 404
    assert "secret-path" not in json.dumps(envelope(lost))
    wrong = send(scripted("x"), "GET", "/v1/chat/completions")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"
    assert envelope(wrong)["message"] == "This URL does not answer to this method, but to POST."
    assert send(scripted("x"), "POST", "/v1/models").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": NaN}'])
def test_a_body_that_is_no_request_is_a_400(scripted: Any, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = send(scripted("x"), "POST", "/v1/chat/completions", content=body, headers=headers)
    assert response.status_code == 400
    assert envelope(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body", [b'{"model": sentinel}', b'{"sentinel": 1,}', b'\xef\xbb\xbf"sentinel"', b'{"a": "\\sentinel"}']
)
def test_where_a_body_stops_being_json_is_told_and_not_what_it_says(scripted: Any, body: bytes) -> None:
    response = send(scripted("x"), "POST", "/v1/chat/completions", content=body, headers={"Content-Type": JSON})
    assert re.search(r"^The body cannot be read as JSON: .* at line 1 column \d+\.$", envelope(response)["message"])
    assert "sentinel" not in response.text


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/x-www-form-urlencoded", 400),  # what curl's -d says unless told otherwise
        ("text/plain", 400),
        ("application/jsonl", 400),
        ("application/vnd.api+json", 400),
        ("", 400),
    ],
)
def test_a_body_that_is_not_called_json_is_a_400(scripted: Any, kind: str, status: int) -> None:
    content = json.dumps(ASK).encode()
    response = send(scripted("x"), "POST", "/v1/chat/completions", content=content, headers={"Content-Type": kind})
    assert response.status_code == status
    assert status == 200 or "application/json" in envelope(response)["message"]


@pytest.mark.parametrize("half", ["\\ud800", "\\udc00", "\\udc00\\ud800"])
@pytest.mark.parametrize("where", ["card", "note"])  # in what is asked, and in what is ignored
def test_half_a_surrogate_pair_is_a_400(scripted: Any, half: str, where: str) -> None:
    content = json.dumps({**ASK, "metadata": {"a": "note"}}).replace(where, half).encode()
    response = send(scripted("x"), "POST", "/v1/chat/completions", content=content, headers={"Content-Type": JSON})
    assert response.status_code == 400
    assert re.search(r"cannot be read as JSON: .*hex escape at line 1 column \d+\.$", envelope(response)["message"])


def test_roles_that_the_template_refuses_are_a_400(scripted: Any) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]
    response = post(scripted("x"), messages=messages)
    assert response.status_code == 400
    assert envelope(response)["param"] == "messages"


def test_a_large_body_is_a_413_announced_or_not(scripted: Any) -> None:
    async def endless() -> Any:
        for _ in range(20):
            yield b" " * 100_000

    headers = {"Content-Type": "application/json"}
    for content in (b" " * (SETTINGS.body_limit + 1), endless()):
        response = send(scripted("x"), "POST", "/v1/chat/completions", content=content, headers=headers)
        assert response.status_code == 413
        envelope(response)


def test_one_request_too_many_is_a_429_and_places_come_back(scripted: Any) -> None:
    engine = scripted("Hello")

    async def step(client: httpx.AsyncClient) -> Any:
        engine.hold.clear()
        url = "/v1/chat/completions"
        waiting = [asyncio.create_task(client.post(url, json={**ASK, "stream": bool(i)})) for i in range(2)]
        while len(engine.requests) < 2:
            await asyncio.sleep(0.01)
        refused = await client.post(url, json=ASK)
        engine.hold.set()
        return refused, await asyncio.gather(*waiting), await client.post(url, json=ASK)

    refused, answered, after = talk(engine, step, SETTINGS)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert envelope(refused)["code"] == "rate_limit_exceeded"
    assert [response.status_code for response in (*answered, after)] == [200, 200, 200]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_that_is_cancelled_ends_in_the_engine_and_frees_its_place(scripted: Any, streamed: bool) -> None:
    engine = scripted("Hello")

    async def step(client: httpx.AsyncClient) -> Any:
        url = "/v1/chat/completions"
        for _ in range(5):  # more than there are places
            engine.hold.clear()
            before = len(engine.requests)
            task = asyncio.create_task(client.post(url, json={**ASK, "stream": streamed}))
            while len(engine.requests) == before:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            engine.hold.set()
        return await client.post(url, json=ASK)

    assert talk(engine, step, SETTINGS).status_code == 200
    assert engine.closed == 6


def test_a_reported_disconnect_ends_a_plain_request(scripted: Any) -> None:
    engine = scripted("Hello")
    headers = [(b"authorization", f"Bearer {KEY}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers, "query_string": b""}

    async def session() -> None:
        engine.hold.clear()  # it would never answer
        messages = [{"type": "http.request", "body": json.dumps(ASK).encode()}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            while not engine.requests:
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None:
            pass

        app = gateway.build(engine, SETTINGS, KEYRING)
        await asyncio.wait_for(app({**scope, "root_path": "", "scheme": "http"}, receive, send), 5)

    asyncio.run(session())
    assert engine.closed == 1


def test_a_broken_engine_is_a_503_before_the_stream_and_an_event_in_it(scripted: Any) -> None:
    engine = scripted("Hello")
    engine.broken = "engine"
    response = post(engine)
    assert response.status_code == 503
    assert envelope(response)["code"] == "unavailable"
    assert send(engine, "GET", "/health", key=None).status_code == 503
    assert post(engine, stream=True).status_code == 503
    assert send(engine, "GET", "/ready", key=None).status_code == 503


def test_an_engine_that_breaks_in_a_stream_ends_it_with_an_error_event(scripted: Any) -> None:
    engine = scripted("Hello, this is a longer answer.")
    engine.breaks_at = 3
    got = events(post(engine, stream=True))
    assert got[0]["choices"][0]["delta"]["role"] == "assistant"
    assert set(got[-1]["error"]) == {"message", "type", "param", "code"}
    assert "[DONE]" not in got


def test_what_nobody_expected_is_a_500_and_its_words_stay_out_of_log_and_answer(
    scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = scripted("Hello")
    engine.broken = "my card 4111"
    with caplog.at_level(logging.DEBUG, logger="solotune.serve"):
        response = post(engine)
    assert response.status_code == 500
    assert envelope(response)["type"] == "server_error"
    assert "4111" not in response.text + caplog.text
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize(
    ("body", "whole"), [({}, True), ({"stream": True}, False), ({"stop": "x"}, False), ({"n": 2}, True)]
)
def test_an_engine_is_told_when_nobody_watches(scripted: Any, body: dict[str, Any], whole: bool) -> None:
    engine = scripted("Hello")
    post(engine, **body)
    assert {request.whole for request in engine.requests} == {whole}
