"""Keys at the door of the application: scopes, rates, changes while it runs, pages and their policy."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.config import Serve
from serve_app import keys
from serve_app.engines.fake import FakeEngine
from serve_app.http import gateway, page
from tests.serve_app.client import ASK, CHAT, SETTINGS, connect, envelope, talk


def visit(store: Path, secret: str | None, *paths: str, settings: Serve = SETTINGS) -> list[httpx.Response]:
    async def session() -> list[httpx.Response]:
        app = gateway.build(FakeEngine("tiny", 250), settings, keys.KeyFile(store))
        async with connect(app, secret) as client:
            return [
                await (client.post(path, json={**ASK, "max_tokens": 20}) if path == CHAT else client.get(path))
                for path in paths
            ]

    return asyncio.run(session())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_reaches_its_scope_and_nothing_else(store: Path) -> None:
    paths = (CHAT, "/v1/models", "/metrics", "/openapi.json", "/nowhere")
    expected = {
        "chat": [200, 200, 403, 200, 404],
        "metrics": [403, 403, 200, 403, 404],
        "admin": [403, 403, 403, 403, 404],
    }
    for scope, statuses in expected.items():
        _, secret = keys.make(store, scope, [scope])
        responses = visit(store, secret, *paths)
        assert [response.status_code for response in responses] == statuses
    refused = visit(store, secret, CHAT)[0]
    assert envelope(refused)["code"] == "insufficient_permissions"


def test_no_route_answers_without_a_key_but_health(store: Path) -> None:
    settings = SETTINGS.model_copy(update={"playground": True})
    app = gateway.build(FakeEngine("tiny", 250), settings, keys.Keyring([]))
    paths = sorted({str(getattr(route, "path", "")) for route in app.routes})
    assert "/metrics" in paths
    responses = visit(store, None, *paths, settings=settings)
    answered = {path for path, response in zip(paths, responses, strict=True) if response.status_code != 401}
    assert answered == {"/health", "/ready", "/playground"}
    assert visit(store, None, "/playground")[0].status_code == 401  # unless it is switched on


def test_a_rate_is_a_429_with_the_time_to_wait(store: Path) -> None:
    _, secret = keys.make(store, "slow", ["chat"], requests_per_minute=2)
    *good, over = visit(store, secret, CHAT, CHAT, CHAT)
    assert [response.status_code for response in good] == [200, 200]
    assert over.status_code == 429
    assert 29 <= int(over.headers["retry-after"]) <= 30
    assert envelope(over)["type"] == "requests"
    _, secret = keys.make(store, "few", ["chat"], tokens_per_minute=30)
    good_one, over = visit(store, secret, CHAT, CHAT)
    used = good_one.json()["usage"]["total_tokens"]
    assert used > 30
    assert over.status_code == 429
    assert int(over.headers["retry-after"]) == pytest.approx((used - 30 + 1) * 2, abs=2)
    assert envelope(over)["type"] == "tokens"


def test_a_key_that_is_revoked_is_refused_at_once(store: Path) -> None:
    _, secret = keys.make(store, "crm", ["chat"])

    async def session() -> list[int]:
        app = gateway.build(FakeEngine("tiny", 250), SETTINGS, keys.KeyFile(store))
        async with connect(app, secret) as client:
            before = await client.get("/v1/models")
            keys.revoke(store, "crm")
            return [before.status_code, (await client.get("/v1/models")).status_code]

    assert asyncio.run(session()) == [200, 401]


def test_a_page_runs_only_what_is_in_it() -> None:
    async def step(client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/playground")

    settings = SETTINGS.model_copy(update={"playground": True})
    response: Any = talk(FakeEngine("tiny", 250), step, settings, key=None)
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    script = re.search("<script>(.*)</script>", response.text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for outside in ("http:", "https:", "//cdn", "<script ", "style=", " src=", "onclick", "@import"):
        assert outside not in response.text.replace("// --", "")
    assert "script-src 'none'; style-src 'none'" in page.policy("<p>nothing</p>")


@pytest.mark.parametrize(
    ("sent", "answered", "logged"),
    [
        ({"x-request-id": "mine-1"}, {"x-request-id": "mine-1"}, ["mine-1"]),
        ({"X-Client-Request-Id": "a.B:c_2"}, {"x-client-request-id": "a.B:c_2"}, ["a.B:c_2"]),
        (
            {"x-request-id": "mine-1", "x-client-request-id": "mine-2"},
            {"x-request-id": "mine-1", "x-client-request-id": "mine-2"},
            ["mine-1", "mine-2"],
        ),
        ({"x-request-id": "x" * 129}, {}, None),
        ({"x-request-id": "my card"}, {}, None),
        ({"x-request-id": ""}, {}, None),
    ],
)
def test_a_client_s_own_id_is_echoed_and_logged(
    caplog: pytest.LogCaptureFixture, sent: Any, answered: Any, logged: list[str] | None
) -> None:
    async def step(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.post(CHAT, json=ASK, headers=sent),
            await client.post(CHAT, json={**ASK, "stream": True}, headers=sent),
            await client.get("/nowhere", headers={**sent, "Authorization": "Bearer x"}),
        ]

    with caplog.at_level(logging.DEBUG, logger="solotune.serve"):
        responses = talk(FakeEngine("tiny", 250), step)
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [response.status_code for response in responses] == [200, 200, 401]
    for response, line in zip(responses, lines, strict=True):
        assert answered.items() <= response.headers.items()
        assert line.get("client_request_ids") == logged
        assert line["request_id"].startswith("req_")
        if "x-request-id" not in answered:
            assert response.headers["x-request-id"] == line["request_id"]
