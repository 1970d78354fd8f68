"""The service's error responses, in OpenAI's envelope.

Output contract: every status has the body `{"error": {"message", "type", "param", "code"}}`. A message is fixed text of
ours; of the request it repeats at most the name of a field, and that only when it looks like one. Never content.
This module sends nothing: `gateway` turns an `ApiError` into a response.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import SolotuneError

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_SUBJECT = re.compile(r"^(?:Input|String|List|Dictionary) should (be|have|match)")
_UNKNOWN = "extra_forbidden"
_STATUS = {
    400: "The request could not be understood.",
    403: "This API key may not do that.",
    404: "There is no such URL.",
    405: "This URL does not answer to this method.",
    422: "The request could not be understood.",
}


class ApiError(SolotuneError):
    """A reply other than 200. `kind` is the envelope's `type`."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.envelope = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Returns a 400; `param` is the argument at fault."""
    return ApiError(400, message, code, param)


def unauthorized(presented: bool) -> ApiError:
    """Returns a 401 that begins with OpenAI's words, by which clients tell it from a 400."""
    missing = "You didn't provide an API key: send `Authorization: Bearer KEY`."
    message = "Incorrect API key provided." if presented else missing
    return ApiError(401, message, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def forbidden() -> ApiError:
    """Returns a 403: the key lacks the route's scope."""
    return ApiError(403, _STATUS[403], "insufficient_permissions", kind="permission_error")


def unknown_model() -> ApiError:
    """Returns a 404 for a model that is not served."""
    return ApiError(404, "There is no such model here: see /v1/models.", "model_not_found", "model")


def filtered(what: str) -> ApiError:
    """Returns the 400 of a request that the guard refuses; `what` names a kind of content, never the content."""
    return bad_request(f"This service takes no requests with {what}.", None, "content_filter")


def unsupported(param: str, able: str) -> ApiError:
    """Returns a 400 for an argument that the engine lacks; `able` names the engines that have it."""
    message = f"This service's engine does not support {param}: it needs the engine {able} (`serve.engine`)."
    return bad_request(message, param, "unsupported_parameter")


def timed_out() -> ApiError:
    """Returns the 408 that OpenAI's clients raise and retry."""
    return ApiError(408, "The request took longer than this service allows.", "timeout", kind="timeout_error")


def too_large(limit: int) -> ApiError:
    """Returns a 413; `limit` in bytes."""
    return ApiError(413, f"The request's body is larger than {limit} bytes.", "request_too_large")


def too_many(limit: int) -> ApiError:
    """Returns a 429: `limit` answers are in progress."""
    return _overloaded(f"{limit} answers are being made or waiting: try again shortly.")


def busy() -> ApiError:
    """Returns a 429: the model's own server is full."""
    return _overloaded("The model's server takes no more requests at the moment: try again shortly.")


def _overloaded(message: str) -> ApiError:
    return ApiError(429, message, "rate_limit_exceeded", kind="rate_limit_error", headers={"Retry-After": "1"})


def internal() -> ApiError:
    """Returns a 500, without the cause."""
    return ApiError(500, "The service failed on this request.", "internal_error", kind="server_error")


def unavailable() -> ApiError:
    """Returns a 503."""
    message = "The model is not available at the moment."
    return ApiError(503, message, "unavailable", kind="server_error", headers={"Retry-After": "5"})


def coded() -> ApiError:
    """Returns the 415 of a compressed body."""
    return ApiError(415, "The body must be sent as it is, without a Content-Encoding.", "unsupported_encoding")


def of_status(status: int, headers: Mapping[str, str] | None = None) -> ApiError:
    """Returns the error for a status of the web framework, with a text of ours."""
    if status >= 500:
        return internal()
    message = _STATUS.get(status, "The request was refused.")
    if allowed := (headers or {}).get("Allow"):
        message = f"This URL does not answer to this method, but to {allowed}."
    return ApiError(status, message, headers=headers)


def of_validation(problems: Sequence[Mapping[str, Any]]) -> ApiError:
    """Returns a 400 for the first of pydantic's `errors()`, without any value of the request."""
    problem = _meant(problems)
    kind, context = problem["type"], problem.get("ctx", {})
    steps = [str(step) for step in problem["loc"] if step != "body" and not (kind != _UNKNOWN and _is_branch(step))]
    steps += [context["argument"]] if context.get("argument") else []
    param = ".".join(step if _FIELD.fullmatch(step) or step.isdigit() else "?" for step in steps) or None
    if kind == "json_invalid":
        return bad_request(f"The body cannot be read as JSON: {context['error']}.")
    if kind == _UNKNOWN:
        return bad_request(f"Unrecognized request argument: {param}", param, "unknown_parameter")
    null = problem.get("input", "") is None and kind.endswith("_type") and not (steps or ["0"])[-1].isdigit()
    if kind == "missing" or null:
        return bad_request(f"Missing required parameter: {param}", param, "missing_required_parameter")
    if kind == "unsupported":
        return bad_request(f"{param}: {problem['msg']}.", param, "unsupported_parameter")
    return bad_request(f"Invalid value for {param or 'the body'}: {_words(problem)}.", param, "invalid_value")


def _is_branch(step: int | str) -> bool:
    """Whether pydantic put this step of a place in for the branch of a union."""
    return isinstance(step, str) and (step == "str" or "[" in step)


def _meant(problems: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the first problem; in a union, that of the branch which comes nearest to the value."""
    first = problems[0]
    at = next((at for at, step in enumerate(first["loc"]) if _is_branch(step)), None)
    if at is None or first["type"] == _UNKNOWN:
        return first
    branches: dict[str, list[Mapping[str, Any]]] = {}
    for problem in problems:
        if problem["loc"][:at] == first["loc"][:at] and len(problem["loc"]) > at:
            branches.setdefault(problem["loc"][at], []).append(problem)
    near = [
        faults for faults in branches.values() if len(faults[0]["loc"]) > at + 1 or "_type" not in faults[0]["type"]
    ]
    if not near:
        return {**first, "type": "string_type", "msg": "Input should be a string or a list"}
    return min(near, key=len)[0]


def _words(problem: Mapping[str, Any]) -> str:
    """Returns pydantic's message without its own nouns: "it must be ..."."""
    match problem["type"]:
        case "too_short":
            return f"it must have at least {problem['ctx']['min_length']} item"
        case "too_long":
            return f"it must have at most {problem['ctx']['max_length']} items"
    return _SUBJECT.sub(r"it must \1", str(problem["msg"]))
