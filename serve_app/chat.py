"""Requests and responses of /v1/chat/completions, as OpenAI's API reference has them.

Output contract: a `ChatRequest` that validates can be answered. Like OpenAI's, an unknown argument is refused (400).
Arguments of that API that this service does not implement are accepted at their neutral value (`n=1`, zero penalties,
`logprobs=false`, `response_format={"type": "text"}`, no tools) and refused at any other (400, `unsupported_parameter`);
those that do not change the answer (`user`, `metadata`, `store`, ...) are accepted and ignored.
This module does not know tokens, models or HTTP.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

MAX_STOPS = 4
SEED = 2**63  # a seed is a signed 64-bit integer


def _writable(text: str) -> str:
    """Refuses half a surrogate pair: JSON can carry one, UTF-8 and tokenizers cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("the text holds half of a surrogate pair") from error
    return text


def _unsupported() -> PydanticCustomError:
    return PydanticCustomError("unsupported", "This argument is not supported here, or not with this value.")


def _neutral(*values: Any) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not any(value == neutral and isinstance(value, bool) == isinstance(neutral, bool) for neutral in values):
            raise _unsupported()
        return value

    return BeforeValidator(check)


Text = Annotated[str, AfterValidator(_writable)]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class TextPart(Strict):
    type: Literal["text"]
    text: Text


class Message(Strict):
    """One message. Content parts other than text, and tool calls, are refused."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]
    name: str | None = None
    refusal: None = None
    tool_calls: Annotated[Any, _neutral(None, [])] = None
    function_call: Annotated[Any, _neutral(None)] = None
    audio: Annotated[Any, _neutral(None)] = None

    @field_validator("role", mode="before")
    @classmethod
    def _no_tools(cls, role: Any) -> Any:
        if role in ("tool", "function"):
            raise _unsupported()
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _only_text(cls, content: Any) -> Any:
        parts = content if isinstance(content, list) else []
        if any(isinstance(part, dict) and part.get("type") not in (None, "text") for part in parts):
            raise _unsupported()
        return content

    def rendered(self) -> dict[str, str]:
        """Returns the message as a chat template takes it; a developer's is the system's."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class ChatRequest(Strict):
    model: Text
    messages: Annotated[list[Message], Field(min_length=1)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-SEED, lt=SEED)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Text | list[Text] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # of the API, not implemented: neutral values only
    n: Annotated[Any, _neutral(None, 1)] = None
    logprobs: Annotated[Any, _neutral(None, False)] = None
    top_logprobs: Annotated[Any, _neutral(None, 0)] = None
    frequency_penalty: Annotated[Any, _neutral(None, 0)] = None
    presence_penalty: Annotated[Any, _neutral(None, 0)] = None
    logit_bias: Annotated[Any, _neutral(None, {})] = None
    response_format: Annotated[Any, _neutral(None, {"type": "text"})] = None
    tools: Annotated[Any, _neutral(None, [])] = None
    tool_choice: Annotated[Any, _neutral(None, "none", "auto")] = None
    functions: Annotated[Any, _neutral(None, [])] = None
    function_call: Annotated[Any, _neutral(None, "none", "auto")] = None
    modalities: Annotated[Any, _neutral(None, ["text"])] = None
    audio: Annotated[Any, _neutral(None)] = None
    prediction: Annotated[Any, _neutral(None)] = None
    web_search_options: Annotated[Any, _neutral(None)] = None
    reasoning_effort: Annotated[Any, _neutral(None, "none")] = None
    verbosity: Annotated[Any, _neutral(None)] = None
    # of the API, without effect on the answer: ignored
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    parallel_tool_calls: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > MAX_STOPS or "" in stops:
            raise ValueError(f"at most {MAX_STOPS} stop strings, none of them empty")
        return stop

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def limit(self) -> int | None:
        """The most tokens the answer may have; None where the request leaves that to the service."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Answer(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int = 0
    message: Answer
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class Completion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "solotune"


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]
