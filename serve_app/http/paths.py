"""Paths: one spelling for each, and what to say about one that does not exist.

Output contract: `plain` has single slashes and none at the end. `not_found` names the route that was meant, where that
can be told; of the request's path it repeats nothing.
This module does not route: it knows the names of routes, and `gateway` what they do.
"""

from __future__ import annotations

import re

from serve_app import errors

ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/ready", "/metrics", "/openapi.json")
_SLASHES = re.compile("//+")
_CHAT = "ask POST /v1/chat/completions instead."
_ABSENT = {  # what other services have, by a word of its path
    "responses": f"This service has no /v1/responses: {_CHAT}",
    "messages": f"This service does not speak Anthropic's API: {_CHAT}",
    "generate": f"This service generates at OpenAI's routes: {_CHAT}",
    "chat": f"This service chats at OpenAI's route: {_CHAT}",
    "embeddings": "This service makes no embeddings: its model generates text.",
    "tags": "There is no such URL: the model is at GET /v1/models.",
}


def plain(path: str) -> str:
    """Returns a path with single slashes and none at its end."""
    if "//" not in path and not path.endswith("/"):
        return path  # as nearly all are
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def not_found(path: str) -> errors.ApiError:
    """Returns the 404 of a path without a route."""
    return errors.ApiError(404, _advice(plain(path).lower()))


def _advice(path: str) -> str:
    if path in ("/", "/v1"):
        return "This is no route but a base: clients take http://HOST:PORT/v1 and add, for instance, /chat/completions."
    for route in ROUTES:
        if path.endswith((route, route.removeprefix("/v1"))) or path == f"{route}z":  # Kubernetes's spelling: /healthz
            base = ", and a client's base URL ends in /v1, once" if route.startswith("/v1") else ""
            return f"There is no such URL: the route is {route}{base}."
    words = path.split("/")
    known = next((text for word, text in _ABSENT.items() if word in words), None)
    return known or "There is no such URL: the routes are in GET /openapi.json."
