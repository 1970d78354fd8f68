"""What generates the tokens: one small interface that every engine meets.

Output contract: an engine takes token ids and gives token ids. Rendering messages, detokenising, stop strings and usage
happen once, above it. Closing the iterator of `generate` early cancels the request.
This module imports no model library.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pipeline.errors import SolotuneError

FinishReason = Literal["stop", "length"]


class EngineError(SolotuneError):
    """The engine could not go on with a request."""


@dataclass(frozen=True)
class Generation:
    """One request to an engine. Temperature 0 is greedy; the same seed, settings and prompt draw the same tokens."""

    prompt_ids: list[int]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True)
class TokenChunk:
    """The next tokens of an answer, a stop token included; the last chunk says why it is the last."""

    token_ids: list[int]
    finish_reason: FinishReason | None = None


class Engine(Protocol):
    """A loaded model that is ready to generate."""

    model_id: str
    created: int  # seconds since 1970: when the model was made
    max_context: int  # tokens of prompt and answer together
    stop_ids: frozenset[int]
    tokenizer: Any  # of transformers, with the chat template that the model was trained with

    def generate(self, request: Generation) -> AsyncGenerator[TokenChunk, None]:
        """Yields the answer's tokens as they are made; raises `EngineError` when the engine fails."""
        ...

    def check(self) -> None:
        """Raises `EngineError` when the engine cannot generate any more."""
        ...

    def stop(self) -> None:
        """Ends the engine; requests that are running fail."""
        ...
