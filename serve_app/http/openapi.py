"""The OpenAPI document: FastAPI's, completed.

Output contract: the document has the security scheme, OpenAI's error envelope under every status of a route, event
streams beside JSON, and the limits of this service.
This module changes no behaviour.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from pipeline.config import Serve
from serve_app.engines import Engine
from serve_app.http.middleware import OPEN

_EVENT = {  # one event of a stream in OpenAPI 3.2: its data is a chunk, an error or `[DONE]`
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "contentMediaType": "application/json"}},
}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"itemSchema": _EVENT}}, "description": "The answer."}
}
_STRING, _NULLABLE = {"type": "string"}, {"type": ["string", "null"]}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "additionalProperties": False,
            "properties": {"message": _STRING, "type": _STRING, "param": _NULLABLE, "code": _NULLABLE},
        }
    },
}
_STATUSES = {
    "400": "The request is not one.",
    "401": "No key, or an unknown one.",
    "403": "The key may not do that.",
    "404": "There is no such model or URL.",
    "405": "Not with this method.",
    "408": "It took too long.",
    "413": "The body is too large.",
    "415": "The body is compressed.",
    "422": "The request was refused.",
    "429": "Too many requests.",
    "500": "The service failed.",
    "503": "The model is not available.",
}
_REPLACED = ("HTTPValidationError", "ValidationError")  # FastAPI's own, which this service never answers


def install(app: FastAPI, engine: Engine, settings: Serve) -> None:
    """Replaces `app.openapi`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, engine, settings)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI, engine: Engine, settings: Serve) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    parts = document["components"]
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    parts["schemas"] = {name: schema for name, schema in parts["schemas"].items() if name not in _REPLACED}
    parts["schemas"]["Error"] = _ERROR
    parts["headers"] = {"RequestId": {"schema": {"type": "string", "pattern": "^[0-9A-Za-z._:-]+$"}}}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            answers = operation["responses"]
            for status, description in _STATUSES.items():
                answers[status] = {"description": description, "content": content}
            for answer in answers.values():
                answer["headers"] = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
            operation["security"] = [] if path in OPEN else [{"key": []}]
    for name in ("ChatRequest", "CompletionRequest"):
        properties = parts["schemas"][name]["properties"]
        properties["model"] = {"type": "string", "enum": [engine.model_id]}
        _bound(properties["n"], settings.max_choices)
        for limit in ("max_tokens", "max_completion_tokens"):
            if limit in properties:
                _bound(properties[limit], settings.max_new_tokens)
    return document


def _bound(schema: dict[str, Any], most: int) -> None:
    for part in schema["anyOf"]:
        if part.get("type") == "integer":
            part.pop("exclusiveMaximum", None)
            part["maximum"] = most
