"""From an engine's tokens to OpenAI's answers: one whole completion, or chunks as server-sent events.

Output contract: text ends before the first stop string, never inside a character; usage counts the prompt's tokens and
every token generated up to the end, the stop token included. A failure in the middle of a stream is one last event with
the error envelope and no `[DONE]`, which clients raise.
This module does not validate, authenticate or admit requests.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from serve_app import errors
from serve_app.chat import Answer, Choice, Completion, Usage
from serve_app.engines import Engine, FinishReason, Generation
from serve_app.text import Detokenizer, StopStrings

log = logging.getLogger("solotune.serve")


@dataclass
class Chat:
    """One admitted request: what the engine gets, and what the answer must say about itself."""

    generation: Generation
    stops: list[str]
    include_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    completion_tokens: int = 0
    finish_reason: FinishReason = "stop"

    def usage(self) -> Usage:
        prompt = len(self.generation.prompt_ids)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=self.completion_tokens,
            total_tokens=prompt + self.completion_tokens,
        )


async def pieces(engine: Engine, chat: Chat) -> AsyncGenerator[str, None]:
    """Yields the answer's text as it comes, and keeps `completion_tokens` and `finish_reason` of the chat."""

    def decode(ids: list[int]) -> str:
        return str(engine.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    words, stops = Detokenizer(decode), StopStrings(chat.stops)
    async with aclosing(engine.generate(chat.generation)) as chunks:
        async for chunk in chunks:
            chat.completion_tokens += len(chunk.token_ids)
            text = stops.push(words.push([token for token in chunk.token_ids if token not in engine.stop_ids]))
            if chunk.finish_reason is not None:
                text += stops.push(words.flush()) + stops.flush()
                chat.finish_reason = "stop" if stops.hit else chunk.finish_reason
            if text:
                yield text
            if stops.hit:
                return  # closes the engine's iterator: the request is cancelled


async def completion(engine: Engine, chat: Chat) -> Completion:
    """Returns the whole answer."""
    async with aclosing(pieces(engine, chat)) as texts:
        content = "".join([text async for text in texts])
    choice = Choice(message=Answer(content=content), finish_reason=chat.finish_reason)
    return Completion(id=chat.id, created=chat.created, model=engine.model_id, choices=[choice], usage=chat.usage())


async def events(engine: Engine, chat: Chat) -> AsyncGenerator[str, None]:
    """Yields the answer as server-sent events."""
    head = {"id": chat.id, "object": "chat.completion.chunk", "created": chat.created, "model": engine.model_id}
    tail: dict[str, Any] = {"usage": None} if chat.include_usage else {}

    def chunk(delta: dict[str, str], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**head, "choices": [choice], **tail})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async with aclosing(pieces(engine, chat)) as texts:
            async for text in texts:
                yield chunk({"content": text})
    except Exception as error:  # the status is out already: say it in the stream
        log.error("request %s failed in its stream: %s", chat.id, type(error).__name__)
        yield _event(errors.internal().envelope)
        return
    yield chunk({}, chat.finish_reason)
    if chat.include_usage:
        yield _event({**head, "choices": [], "usage": chat.usage().model_dump()})
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"
