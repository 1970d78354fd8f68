"""The url engine: a server with OpenAI's API, asked for each answer as a stream.

Output contract: messages and texts go there unchanged, so its template and its tokenizer count; usage is its own. Only
the configured base URL is asked. `seed` and penalties are passed on; that server may ignore them. Log-probabilities are
not offered: they would be those of an unknown tokenizer.
This module renders, detokenises and counts nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from pipeline.config import Project
from pipeline.errors import ConfigError
from serve_app.engines import Chunk, EngineError, FinishReason, Generation, Option
from serve_app.engines.event_stream import Peer

TEXTS, CHATS = "/completions", "/chat/completions"


class UrlEngine:
    """See `Engine`. Raises `ConfigError` for a key file that cannot be read."""

    codec = None
    stop_ids: frozenset[int] = frozenset()

    def __init__(self, project: Project) -> None:
        settings = project.serve
        if settings.url is None:
            raise ConfigError("serve.url: engine `url` needs `{base_url: ..., model: ...}`")
        self._upstream = settings.url
        self._peer = Peer(settings.url.base_url, _key(settings.url.key_file))
        self.model_id, self.created = project.name, int(time.time())
        self.max_context = settings.max_input_tokens + settings.max_new_tokens
        schemas: set[Option] = {"json"} if settings.url.json_schema else set()
        self.options: frozenset[Option] = frozenset({"seed", "penalties", *schemas})

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`."""
        path = TEXTS if request.prompt.messages is None else CHATS
        reason: FinishReason | None = None
        usage: tuple[int, int] | None = None
        async with aclosing(self._peer.events(path, self._body(request))) as events:
            async for event in events:
                text, ended = _read(event)
                reason, usage = ended or reason, _usage(event) or usage
                if text:
                    yield Chunk([], text=text)
        if reason is None:
            raise EngineError("the model's server ended an answer without a reason")
        if usage is None:
            raise EngineError("the model's server reports no usage: it must know stream_options.include_usage")
        yield Chunk([], reason, usage=usage)

    def _body(self, request: Generation) -> dict[str, Any]:
        """Returns the body without arguments at their default, which not every server knows."""
        body: dict[str, Any] = {"model": self._upstream.model, "max_tokens": request.max_tokens, "stream": True}
        body["stream_options"] = {"include_usage": True}
        if request.prompt.messages is None:
            body["prompt"] = request.prompt.text
        else:
            body["messages"] = request.prompt.messages
        if request.schema is not None:
            schema = {"name": "answer", "schema": request.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        optional: dict[str, tuple[Any, Any]] = {
            "temperature": (request.temperature, 1.0),
            "top_p": (request.top_p, 1.0),
            "seed": (request.seed, None),
            "frequency_penalty": (request.frequency_penalty, 0.0),
            "presence_penalty": (request.presence_penalty, 0.0),
            "stop": (list(request.stops), []),
        }
        return body | {name: value for name, (value, default) in optional.items() if value != default}

    async def check(self) -> None:
        """See `Engine`."""
        await self._peer.get("/models")

    async def stop(self) -> None:
        """Closes the connections; the server goes on."""
        await self._peer.close()


def _key(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"serve.url.key_file: cannot read {file}: {type(error).__name__}") from error


def _read(event: dict[str, Any]) -> tuple[str, FinishReason | None]:
    """Returns the text of an event's one choice, and its finish reason."""
    try:
        choices = event.get("choices") or []
        if not choices:
            return "", None
        choice = choices[0]
        text = (choice["delta"].get("content") if "delta" in choice else choice.get("text")) or ""
        reason = choice.get("finish_reason")
    except (KeyError, TypeError, AttributeError) as error:
        raise EngineError("the model's server sent an event that is no completion") from error
    if not isinstance(text, str):
        raise EngineError("the model's server sent an event that is no completion")
    return text, None if reason is None else "length" if reason == "length" else "stop"


def _usage(event: dict[str, Any]) -> tuple[int, int] | None:
    usage = event.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return (prompt, completion) if isinstance(prompt, int) and isinstance(completion, int) else None
