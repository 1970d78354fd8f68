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


def unsupported(param: str) -> ApiError:
    """Returns a 400 for an argument that the engine lacks."""
    return bad_request(f"This model's engine does not support {param}.", param, "unsupported_parameter")


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


def of_status(status: int) -> ApiError:
    """Returns the error for a status of the web framework, with a text of ours."""
    if status >= 500:
        return internal()
    return ApiError(status, _STATUS.get(status, "The request was refused."))


def of_validation(problems: Sequence[Mapping[str, Any]]) -> ApiError:
    """Returns a 400 for the first of pydantic's `errors()`, without any value of the request."""
    problem = problems[0]
    steps = [str(step) for step in problem["loc"]]
    steps = [step for step in steps if step not in ("body", "str") and "[" not in step]  # the latter: pydantic's tags
    param = ".".join(step if _FIELD.fullmatch(step) or step.isdigit() else "?" for step in steps) or None
    match problem["type"]:
        case "json_invalid":
            return bad_request(f"The body cannot be read as JSON: {problem['ctx']['error']}.")
        case "extra_forbidden":
            return bad_request(f"Unrecognized request argument: {param}", param, "unknown_parameter")
        case "missing":
            return bad_request(f"Missing required parameter: {param}", param, "missing_required_parameter")
        case "unsupported":
            return bad_request(problem["msg"], param, "unsupported_parameter")
    return bad_request(f"Invalid value for {param or 'the body'}: {problem['msg']}", param, "invalid_value")
