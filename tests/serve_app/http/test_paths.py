"""Paths: one spelling for each, a 404 that names the route that was meant, HEAD where there is GET."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serve_app.client import ASK, envelope
from tests.serve_app.http.test_gateway import send


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "http://HOST:PORT/v1"),
        ("/v1/", "http://HOST:PORT/v1"),
        ("/chat/completions", "the route is /v1/chat/completions"),
        ("/v1/v1/chat/completions/", "the route is /v1/chat/completions"),
        ("/V1/Completions", "the route is /v1/completions"),
        ("/openai/deployments/x/chat/completions", "the route is /v1/chat/completions"),
        ("/models", "the route is /v1/models"),
        ("/healthz", "the route is /health."),
        ("/v1/responses", "/v1/responses: ask POST /v1/chat/completions"),
        ("/v1/messages", "Anthropic"),
        ("/v1/embeddings", "no embeddings"),
        ("/api/chat", "ask POST /v1/chat/completions"),
        ("/api/tags", "GET /v1/models"),
        ("/v1/secret-path", "GET /openapi.json"),
    ],
)
def test_an_unknown_route_names_the_right_one(scripted: Any, path: str, said: str) -> None:
    for method in ("GET", "POST"):
        response = send(scripted("x"), method, path)
        assert response.status_code == 404
        assert said in envelope(response)["message"]


@pytest.mark.parametrize("path", ["/v1/models/", "//v1/models", "/v1//models//", "/v1/models/tiny/", "/health/"])
def test_slashes_at_the_end_and_double_ones_do_not_matter(scripted: Any, path: str) -> None:
    assert send(scripted("x"), "GET", f"http://test{path}").status_code == 200
    assert path == "/health/" or send(scripted("x"), "GET", f"http://test{path}", key=None).status_code == 401
    assert send(scripted("x"), "POST", "http://test//v1//chat/completions/", json=ASK).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/tiny", "/health", "/ready", "/metrics", "/openapi.json"])
def test_head_is_get_without_a_body(scripted: Any, path: str) -> None:
    got, head = (send(scripted("x"), method, path) for method in ("GET", "HEAD"))
    assert (got.status_code, head.status_code) == (200, 200)
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]
    wrong = send(scripted("x"), "HEAD", "/v1/chat/completions")
    assert (wrong.status_code, wrong.content) == (405, b"")
