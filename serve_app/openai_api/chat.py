"""Requests and responses of /v1/chat/completions, as OpenAI's API reference has them.

Output contract: see `options`. Content is text: other content parts, tools and tool calls are refused. Clients send
messages back as they got or kept them, so what a message holds beyond that is ignored.
This module does not know tokens, models or HTTP.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from serve_app.generation.usage import Usage
from serve_app.openai_api.options import Count, Ignored, Neutral, Options, Sent, Strict, fault, missing, unsupported

OBJECT: dict[str, Any] = {"type": "object"}


class Part(Sent):
    """A part of a message's content: a text, or an assistant's refusal."""

    type: Literal["text", "refusal"]
    text: str | None = None
    refusal: str | None = None

    @property
    def said(self) -> str | None:
        """The part's text."""
        return self.text if self.type == "text" else self.refusal

    @model_validator(mode="after")
    def _says_something(self) -> Part:
        if self.said is None:
            raise missing(self.type)
        return self


class Message(Sent):
    """One message. Content parts other than text, and tool calls, are refused: the answer would miss them.

    An assistant's message may come without content: what it refused with is then its text.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: Annotated[Any, Neutral(None, [])] = None
    function_call: Annotated[Any, Neutral(None)] = None
    audio: Annotated[Any, Neutral(None)] = None

    @field_validator("role", mode="before")
    @classmethod
    def _no_tools(cls, role: Any) -> Any:
        if role in ("tool", "function"):
            raise unsupported("messages of tools are not supported by this service")
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _only_text(cls, content: Any) -> Any:
        parts = content if isinstance(content, list) else []
        if any(isinstance(part, dict) and part.get("type") not in (None, "text", "refusal") for part in parts):
            raise unsupported("this service takes text alone: only content parts of the type text")
        return content

    @model_validator(mode="after")
    def _complete(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise missing("content")
        return self

    def rendered(self) -> dict[str, str]:
        """Returns the message as a chat template takes it; a developer's is the system's."""
        said = (self.refusal or "") if self.content is None else self.content
        text = said if isinstance(said, str) else "".join(part.said or "" for part in said)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class JsonSchema(Strict):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _complete(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise fault("json_schema", "it belongs to the type json_schema, and only there")
        return self


class ChatRequest(Options):
    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    # of the API, not implemented: neutral values only
    tools: Annotated[Any, Neutral(None, [])] = None
    tool_choice: Annotated[Any, Neutral(None, "none", "auto")] = None
    functions: Annotated[Any, Neutral(None, [])] = None
    function_call: Annotated[Any, Neutral(None, "none", "auto")] = None
    modalities: Annotated[Any, Neutral(None, ["text"])] = None
    audio: Annotated[Any, Neutral(None)] = None
    prediction: Annotated[Any, Neutral(None)] = None
    web_search_options: Annotated[Any, Neutral(None)] = None
    verbosity: Annotated[Any, Neutral(None, "medium")] = None
    moderation: Annotated[Any, Neutral(None)] = None
    # of the API, without effect on the answer: ignored
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    parallel_tool_calls: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    prompt_cache_options: Ignored = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None

    @property
    def texts(self) -> list[str]:
        """The text of each message."""
        return [message.rendered()["content"] for message in self.messages]

    def with_texts(self, texts: list[str]) -> ChatRequest:
        """Returns the same request with other texts in its messages."""
        messages = [
            message.model_copy(update={"content": text}) for message, text in zip(self.messages, texts, strict=True)
        ]
        return self.model_copy(update={"messages": messages})

    @property
    def limit(self) -> tuple[str, int | None]:
        """The argument that limits the answer, and its value in tokens."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return "max_tokens", self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """See `Options`."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """See `Options`."""
        if self.response_format is None or self.response_format.type == "text":
            return None
        schema = self.response_format.json_schema
        return OBJECT if schema is None or schema.schema_ is None else schema.schema_


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None = None


class Answer(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int
    message: Answer
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length", "content_filter"]


class Completion(BaseModel):
    id: str
    object: Literal["chat.completion"]
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
