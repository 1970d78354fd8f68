"""The interface of the engines, which generate the tokens.

Output contract: an engine takes and returns token ids; one without a tokenizer (`codec` is None: the `url` engine)
takes the prompt's text or messages and returns text. Rendering, detokenising, stop strings, formatting and counting
happen once, above it. Closing the iterator of `generate` early cancels the request. A request beyond an engine's
`options` is refused before it reaches the engine.
This module imports no model library.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pipeline.errors import SolotuneError
from pipeline.generation import Logprob as Logprob
from serve_app.engines.codec import Codec

FinishReason = Literal["stop", "length"]
Option = Literal["seed", "logprobs", "penalties", "json"]
TOP_LOGPROBS = 20  # the most alternatives per token that OpenAI's API gives


class EngineError(SolotuneError):
    """The engine failed in a request."""


class RefusedError(EngineError):
    """The engine refuses this request for good; `param` is the argument at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class BusyError(EngineError):
    """The engine takes no more requests at the moment."""


@dataclass(frozen=True)
class Prompt:
    """The prompt: `ids` for an engine with a codec; else `messages` of a chat, or the `text` to be continued."""

    ids: list[int]
    messages: list[dict[str, str]] | None = None
    text: str | None = None


@dataclass(frozen=True)
class Generation:
    """The request for one answer. Temperature 0 is greedy.

    The same seed, settings and prompt draw the same tokens, as far as the engine computes the same in every batch.
    """

    prompt: Prompt
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logprobs: int | None = None  # None: none; k: the token's and those of the k most probable tokens
    schema: dict[str, Any] | None = None  # JSON schema that the answer must meet
    whole: bool = False  # nobody reads it before the end: one chunk is enough
    stops: tuple[str, ...] = ()  # an engine may end at one of them; the text is cut above in any case

    @property
    def greedy(self) -> bool:
        """Whether only the most probable token can be drawn, but for rounding."""
        return self.temperature < 1e-3 or self.top_p < 1e-3

    @property
    def penalised(self) -> bool:
        """Whether a penalty other than 0 is asked for."""
        return bool(self.frequency_penalty or self.presence_penalty)


@dataclass(frozen=True)
class Chunk:
    """The next part of an answer: tokens, a stop token included, or text; the last has a `finish_reason`.

    `logprobs` has one entry per token where requested. `usage` is (prompt, completion) tokens so far, of text engines.
    """

    token_ids: list[int]
    finish_reason: FinishReason | None = None
    logprobs: list[Logprob] | None = None
    text: str = ""
    usage: tuple[int, int] | None = None


class Engine(Protocol):
    """A loaded model that is ready to generate."""

    model_id: str
    created: int  # seconds since 1970: when the model was made
    max_context: int  # tokens of prompt and answer together
    stop_ids: frozenset[int]
    options: frozenset[Option]

    @property
    def codec(self) -> Codec | None:
        """Text to token ids and back; None where the engine takes and returns text."""

    def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """Yields the answer in chunks; raises `EngineError` for a failure, `RefusedError` for a refusal."""

    async def check(self) -> None:
        """Raises `EngineError` when the engine cannot generate now."""

    async def stop(self) -> None:
        """Ends the engine; running requests fail."""
