"""An answer as a chat completion or as a text completion, whole or as the chunks of a stream.

Output contract: the objects of OpenAI's API reference. In a stream every choice of a chat begins with its role, every
choice ends with a chunk that holds the finish reason, and usage comes last, without choices, where it was asked for.
This module sends nothing and reads nothing from an engine.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from serve_app.engines.codec import Codec
from serve_app.generation.answer import Job, Piece, ScoredToken
from serve_app.openai_api.chat import Answer, Choice, Completion, Logprobs, TokenLogprob, TopLogprob
from serve_app.openai_api.completions import TextChoice, TextCompletion, TextLogprobs

UNLIKELY = -9999.0  # JSON has no infinity; OpenAI writes this

DONE = "data: [DONE]\n\n"
_BREAKS = {chr(code): f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}  # the lines that JSON leaves as they are
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def event(value: dict[str, Any]) -> str:
    """Returns a server-sent event without any of Unicode's ends of lines in its data: httpx splits at all of them."""
    data = _encode(value)
    if not data.isascii():
        for character, escape in _BREAKS.items():
            data = data.replace(character, escape)
    return f"data: {data}\n\n"


class Format(ABC):
    """The format of one route's answers."""

    kind = ""  # OpenAI's name of a stream's objects

    def __init__(self, codec: Codec | None, model: str) -> None:
        self.codec, self.model = codec, model

    @abstractmethod
    def whole(self, job: Job, choices: list[Piece]) -> Completion | TextCompletion:
        """Returns the body of an answer that is not streamed."""

    @abstractmethod
    def start(self, job: Job) -> Iterator[str]:
        """Yields the events before the first piece."""

    @abstractmethod
    def piece(self, job: Job, piece: Piece) -> Iterator[str]:
        """Yields the events of a piece."""

    def end(self, job: Job) -> Iterator[str]:
        """Yields the last events of a stream, `[DONE]` among them."""
        if job.include_usage:
            yield self._event(job, [], job.usage.model_dump())
        yield DONE

    def _event(self, job: Job, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> str:
        value: dict[str, Any] = {"id": job.id, "object": self.kind, "created": job.created, "model": self.model}
        return event(value | {"choices": choices} | ({"usage": usage} if job.include_usage else {}))

    def _bytes(self, token: int) -> bytes:
        return self.codec.piece(token) if self.codec is not None else b""


class ChatFormat(Format):
    kind = "chat.completion.chunk"

    def whole(self, job: Job, choices: list[Piece]) -> Completion:
        """See `Format`."""
        written = [
            Choice(
                index=choice.index,
                message=Answer(content=choice.text),
                logprobs=self._logprobs(choice.scored) if job.generations[choice.index].logprobs is not None else None,
                finish_reason=choice.finish_reason or "length",
            )
            for choice in choices
        ]
        head: dict[str, Any] = {"id": job.id, "object": "chat.completion", "created": job.created, "model": self.model}
        return Completion(**head, choices=written, usage=job.usage)

    def start(self, job: Job) -> Iterator[str]:
        """See `Format`."""
        for index in range(len(job.generations)):
            yield self._event(job, [self._choice(index, {"role": "assistant", "content": "", "refusal": None})])

    def piece(self, job: Job, piece: Piece) -> Iterator[str]:
        """See `Format`."""
        if piece.text or piece.scored:
            choice = self._choice(piece.index, {"content": piece.text})
            if piece.scored:
                choice["logprobs"] = self._logprobs(piece.scored).model_dump()
            yield self._event(job, [choice])
        if piece.finish_reason is not None:
            yield self._event(job, [{**self._choice(piece.index, {}), "finish_reason": piece.finish_reason}])

    @staticmethod
    def _choice(index: int, delta: dict[str, Any]) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def _logprobs(self, scored: list[ScoredToken]) -> Logprobs:
        return Logprobs(
            content=[
                TokenLogprob(
                    **self._one(one.token, one.logprob.value),
                    top_logprobs=[TopLogprob(**self._one(token, value)) for token, value in one.logprob.top],
                )
                for one in scored
            ]
        )

    def _one(self, token: int, value: float) -> dict[str, Any]:
        piece = self._bytes(token)
        return {"token": piece.decode(errors="replace"), "logprob": max(value, UNLIKELY), "bytes": list(piece)}


class TextFormat(Format):
    kind = "text_completion"

    def whole(self, job: Job, choices: list[Piece]) -> TextCompletion:
        """See `Format`."""
        written = [
            TextChoice(
                index=choice.index,
                text=(job.echoes[choice.index] if job.echoes else "") + choice.text,
                logprobs=self._logprobs(choice.scored, job) if job.generations[0].logprobs is not None else None,
                finish_reason=choice.finish_reason or "length",
            )
            for choice in choices
        ]
        head: dict[str, Any] = {"id": job.id, "object": self.kind, "created": job.created, "model": self.model}
        return TextCompletion(**head, choices=written, usage=job.usage)

    def start(self, job: Job) -> Iterator[str]:
        """See `Format`."""
        for index, text in enumerate(job.echoes):
            yield self._event(job, [self._choice(index, text)])

    def piece(self, job: Job, piece: Piece) -> Iterator[str]:
        """See `Format`."""
        choice = self._choice(piece.index, piece.text)
        if piece.scored:
            choice["logprobs"] = self._logprobs(piece.scored, job).model_dump()
        yield self._event(job, [{**choice, "finish_reason": piece.finish_reason}])

    @staticmethod
    def _choice(index: int, text: str) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": None}

    def _logprobs(self, scored: list[ScoredToken], job: Job) -> TextLogprobs:
        top = [{self._text(token): max(value, UNLIKELY) for token, value in one.logprob.top} for one in scored]
        return TextLogprobs(
            tokens=[self._text(one.token) for one in scored],
            token_logprobs=[max(one.logprob.value, UNLIKELY) for one in scored],
            top_logprobs=top if job.generations[0].logprobs else None,
            text_offset=[one.offset for one in scored],
        )

    def _text(self, token: int) -> str:
        """Returns the token's text; bytes that are no characters in the notation of OpenAI's old API."""
        piece = self._bytes(token)
        try:
            return piece.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
