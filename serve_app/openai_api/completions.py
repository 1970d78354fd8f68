"""Requests and responses of /v1/completions, OpenAI's older API: a text is continued, no chat template.

Output contract: see `options`. A prompt is a text, token ids, or a list of either; each is continued `n` times, and
choice `i * n + j` is the j-th continuation of the i-th prompt.
This module does not know tokens, models or HTTP.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from serve_app.generation.usage import Usage
from serve_app.openai_api.options import Neutral, Options, fault

Ids = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]


class CompletionRequest(Options):
    prompt: str | Ids | Annotated[list[str], Field(min_length=1)] | Annotated[list[Ids], Field(min_length=1)]
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None
    suffix: Annotated[Any, Neutral(None, "")] = None

    @model_validator(mode="after")
    def _no_contest(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise fault("best_of", "this service makes no more answers than it returns, so it must be n or left out")
        if self.echo and self.logprobs is not None:
            raise fault("logprobs", "this service scores no prompt, so it does not go with echo")
        return self

    @property
    def alternatives(self) -> int | None:
        """See `Options`."""
        return self.logprobs

    def with_prompts(self, prompts: list[str | list[int]]) -> CompletionRequest:
        """Returns the same request with other prompts."""
        return self.model_copy(update={"prompt": prompts})

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, each a text or token ids."""
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)


class TextLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class TextChoice(BaseModel):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter"]


class TextCompletion(BaseModel):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage
