"""The service on Ray Serve as its users meet it: the openai client, plain HTTP, a flood, a client that hangs up."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from pipeline.errors import UserError
from pipeline.models.template import chat_prompt
from pipeline.run import Run
from serve_app import app, keys

pytestmark = [
    pytest.mark.ray,
    # Ray 2.60 declares a field of its settings the way of pydantic 1
    pytest.mark.filterwarnings(
        "ignore:Using extra keyword arguments on .Field.:DeprecationWarning:ray.serve._private.config"
    ),
]

ASK = [{"role": "user", "content": "How do I block my card?"}]
ENDLESS = 3000  # tokens: more than a test waits for


@pytest.fixture(scope="module")
def service(ray_session: None, exported: Run, module_project: Any) -> Iterator[tuple[str, str]]:
    """Base URL and key."""
    from ray import serve

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        probe.listen()
        port = probe.getsockname()[1]
        settings = module_project.serve.model_copy(update={"port": port, "concurrency": 1, "queue": 1})
        project = module_project.model_copy(update={"serve": settings})
        with pytest.raises(UserError, match=r"Set `serve.port`"):
            app.deploy(project, exported, exported.local(keys.STORE))
    store = exported.local(keys.STORE)
    assert keys.first(store, exported.local(keys.PLAIN))
    yield app.deploy(project, exported, store), exported.local(keys.PLAIN).read_text()
    serve.shutdown()


@pytest.fixture
def openai(service: tuple[str, str]) -> Iterator[Any]:
    from openai import OpenAI

    url, key = service
    with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def http(service: tuple[str, str]) -> Iterator[httpx.Client]:
    url, key = service
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False) as client:
        yield client


def test_the_openai_client_gets_what_generate_gives(openai: Any, exported: Run) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merged = exported.local("model/merged")
    tokenizer = AutoTokenizer.from_pretrained(merged)
    ids = chat_prompt(tokenizer, ASK)
    model = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    with torch.inference_mode():
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=20, do_sample=False, pad_token_id=0, eos_token_id=[2, 6]
        )[0, len(ids) :].tolist()
    expected = tokenizer.decode([token for token in out if token not in (2, 6)], skip_special_tokens=True)

    plain = openai.chat.completions.create(model="tiny", messages=ASK, temperature=0, max_tokens=20)
    assert plain.choices[0].message.content == expected
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens) == (len(ids), len(out))
    streamed = list(
        openai.chat.completions.create(
            model="tiny",
            messages=ASK,
            temperature=0,
            max_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed[:-1]) == expected
    assert streamed[-2].choices[0].finish_reason == plain.choices[0].finish_reason
    assert streamed[-1].usage == plain.usage


def test_a_stream_comes_in_pieces_as_they_are_made(http: httpx.Client) -> None:
    body = {"model": "tiny", "messages": ASK, "stream": True, "temperature": 0.3, "seed": 1, "max_tokens": 300}
    times = []
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                json.loads(line[6:])
                times.append(time.monotonic())
    assert len(times) > 10  # tokens that come faster than `stream_interval` are sent together
    assert times[len(times) // 2] - times[0] > 0.2 * (times[-1] - times[0])


def test_the_openai_client_raises_its_own_errors(openai: Any, service: tuple[str, str]) -> None:
    from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI

    assert [model.id for model in openai.models.list()] == ["tiny"]
    assert openai.models.retrieve("tiny").object == "model"
    with OpenAI(base_url=f"{service[0]}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(AuthenticationError) as caught:
            stranger.models.list()
        assert caught.value.code == "invalid_api_key"
    with pytest.raises(NotFoundError):
        openai.chat.completions.create(model="gpt-4", messages=ASK)
    with pytest.raises(BadRequestError) as unsupported:
        openai.chat.completions.create(model="tiny", messages=ASK, logit_bias={"5": 1})
    assert (unsupported.value.param, unsupported.value.code) == ("logit_bias", "unsupported_parameter")
    with pytest.raises(BadRequestError) as long:
        openai.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "word " * 3000}])
    assert long.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/nowhere", b"", 404),
        ("GET", "/v1/chat/completions", b"", 405),
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b" " * (2 << 20), 413),
    ],
)
def test_every_error_has_the_envelope_and_one_id(
    http: httpx.Client, method: str, path: str, content: bytes, status: int
) -> None:
    response = http.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert len(response.headers.get_list("x-request-id")) == 1
    assert httpx.get(f"{http.base_url}/v1/models", trust_env=False).status_code == 401
    assert httpx.get(f"{http.base_url}/health", trust_env=False).json() == {"status": "ok"}


def test_a_flood_is_answered_or_refused_and_none_is_lost(http: httpx.Client) -> None:
    def one(number: int) -> httpx.Response:
        body = {"model": "tiny", "messages": ASK, "max_tokens": 60, "temperature": 0.3, "seed": number}
        return http.post("/v1/chat/completions", json=body)

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        responses = list(pool.map(one, range(24)))
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 429}
    assert all(response.headers["retry-after"] == "1" for response in responses if response.status_code == 429)
    assert one(99).status_code == 200


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_hangs_up_frees_its_place(http: httpx.Client, streamed: bool) -> None:
    body = {"model": "tiny", "messages": ASK, "max_tokens": ENDLESS, "temperature": 0.3, "stream": streamed}
    for seed in range(3):  # more than there are places
        with httpx.Client(base_url=http.base_url, headers=http.headers, timeout=0.7, trust_env=False) as impatient:
            if streamed:
                with impatient.stream("POST", "/v1/chat/completions", json={**body, "seed": seed}) as response:
                    assert response.status_code == 200
                    assert len([line for line, _ in zip(response.iter_lines(), range(10), strict=False) if line]) == 5
            else:
                with pytest.raises(httpx.ReadTimeout):
                    impatient.post("/v1/chat/completions", json={**body, "seed": seed})
    started = time.monotonic()
    while (response := http.post("/v1/chat/completions", json={**body, "stream": False, "max_tokens": 3})).is_error:
        assert response.status_code == 429
        assert time.monotonic() < started + 2  # an endless answer takes far longer
        time.sleep(0.05)
    assert time.monotonic() < started + 2


@pytest.mark.cluster
def test_a_killed_replica_fails_what_it_had_at_once_and_comes_back(http: httpx.Client) -> None:
    port = http.base_url.port
    body = {"model": "tiny", "messages": ASK, "stream": True, "temperature": 0.3, "max_tokens": ENDLESS}
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        (replica,) = [
            at.pid for at in psutil.net_connections("tcp") if at.status == psutil.CONN_LISTEN and at.laddr[1] == port
        ]
        os.kill(replica, signal.SIGKILL)
        killed = time.monotonic()
        rest = []
        with contextlib.suppress(httpx.RemoteProtocolError):
            rest = list(lines)
        assert "data: [DONE]" not in rest
        assert time.monotonic() < killed + 10
    answered = None
    while answered is None or answered.status_code != 200:
        assert time.monotonic() < killed + 120
        with contextlib.suppress(httpx.TransportError):
            answered = http.post("/v1/chat/completions", json={**body, "stream": False, "max_tokens": 3}, timeout=20)
        time.sleep(0.2)
    print(f"a killed replica: the service answers again after {time.monotonic() - killed:.1f} s")


def test_an_answer_that_runs_when_the_service_ends_is_finished(http: httpx.Client) -> None:
    """The last test: it ends the service."""
    from ray import serve

    body = {"model": "tiny", "messages": ASK, "stream": True, "temperature": 0.3, "seed": 1, "max_tokens": 400}
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        serve.delete(app.NAME, _blocking=False)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in rest[-2]
