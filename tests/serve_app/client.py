"""Asking the application in process: no socket, no Ray."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from pipeline.config import Serve
from serve_app import keys
from serve_app.http import gateway

KEY = "sk-solotune-test"
KEYRING = keys.Keyring([keys.Key(sha256=keys.digest(KEY), scopes=("chat", "metrics", "admin"), created="")])
SETTINGS = Serve(max_new_tokens=100, max_input_tokens=150, concurrency=4, queue=4)
ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "How do I block my card?"}]}
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"

Step = Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]


def application(engine: Any, settings: Serve = SETTINGS) -> Any:
    return gateway.build(engine, settings, KEYRING)


def connect(app: Any, key: str | None = KEY) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


def talk(engine: Any, step: Step, settings: Serve = SETTINGS, key: str | None = KEY) -> Any:
    async def session() -> Any:
        async with connect(application(engine, settings), key) as client:
            return await step(client)

    return asyncio.run(session())


def post(engine: Any, path: str, body: dict[str, Any], settings: Serve = SETTINGS) -> httpx.Response:
    async def step(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post(path, json=body)

    response: httpx.Response = talk(engine, step, settings)
    return response


def events(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    return [block[6:] if block == "data: [DONE]" else json.loads(block[6:]) for block in blocks]


def envelope(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    return error
