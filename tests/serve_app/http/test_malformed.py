"""Whatever is wrong with a request, the answer is a 4xx in the envelope, and nothing of the request is in it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from typing import Any

import pytest

from serve_app.engines.fake import FakeEngine
from tests.serve_app.client import SETTINGS, application
from tests.serve_app.malformed import SENTINEL, Wrong, wrong

SEED = 11


async def ask(app: Any, request: Wrong) -> tuple[int, dict[str, str], bytes]:
    """Sends a request as an ASGI server would; returns status, headers and body."""
    path, _, query = request.path.partition("?")
    headers = {"content-length": str(len(request.body)), **request.headers}
    scope = {
        "type": "http",
        "method": request.method,
        "path": path.replace("%2e", ".").replace("%2f", "/").replace("%00", "\x00"),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "root_path": "",
        "scheme": "http",
    }
    given: list[dict[str, Any]] = [{"type": "http.request", "body": request.body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if given:
            return given.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}, body


def all_refused(count: int, caplog: pytest.LogCaptureFixture) -> Counter[tuple[str, int]]:
    engine = FakeEngine("tiny", 250)
    app = application(engine, SETTINGS)
    seen: Counter[tuple[str, int]] = Counter()

    async def run() -> None:
        for number in range(count):
            request = wrong(number, SEED)
            status, headers, body = await ask(app, request)
            told = (number, request.kind, status, request.body[:200])
            assert 400 <= status < 500, told
            error = json.loads(body)["error"]
            assert set(error) == {"message", "type", "param", "code"}, told
            assert headers["content-type"] == "application/json", told
            assert "x-request-id" in headers, told
            assert SENTINEL not in body.decode() + str(headers), told
            seen[request.kind.split()[0], status] += 1

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    assert SENTINEL not in caplog.text
    assert engine.running == app.state.admission.active == 0
    return seen


def test_malformed_requests_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    seen = all_refused(600, caplog)
    assert {status for _, status in seen} == {400, 401, 404, 405, 413}
    kinds = {"argument", "message", "syntax", "missing", "unknown", "limits", "method", "path", "header"}
    assert {kind for kind, _ in seen} == kinds


@pytest.mark.clients
def test_ten_thousand_malformed_requests_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    seen = all_refused(10_000, caplog)
    print(sorted(seen.items()))
    assert sum(seen.values()) == 10_000
