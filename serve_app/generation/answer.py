"""From the engine's chunks to an answer's text, choice by choice, for every route.

Output contract: a choice's text ends before its first stop string and never inside a character; its log-probabilities
are those of the tokens in it. `usage` counts every token up to the end, the stop token included. The first piece of a
stream comes at once, later ones are joined to one every `interval` seconds. No wait goes beyond the deadline. Every
request to the engine is cancelled when the generator is closed or fails.
This module does not validate, admit or format.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from serve_app import errors
from serve_app.engines import Chunk, Engine, EngineError, FinishReason, Generation, Logprob
from serve_app.engines.codec import Codec
from serve_app.generation.detokenize import Detokenizer, StopStrings
from serve_app.generation.latency import TokenTimes
from serve_app.generation.usage import Usage

EVENTS = 1_000  # a second, of all streams together: the gateway sends little more
WHOLE = 1.0  # seconds between two batches of an answer that is not streamed


@dataclass(frozen=True)
class ScoredToken:
    """A token of the answer with its log-probability; its text starts at `offset` characters."""

    token: int
    logprob: Logprob
    offset: int


@dataclass(frozen=True)
class Piece:
    """The next part of one choice."""

    index: int
    text: str
    scored: list[ScoredToken]
    finish_reason: FinishReason | Literal["content_filter"] | None


@dataclass
class Job:
    """One admitted request: the engine's request for each choice, and the answer's own fields."""

    generations: list[Generation]
    prompts: int  # choices come in this many groups, one for each prompt
    deadline: float  # of the event loop's clock
    stream: bool = False
    include_usage: bool = False
    interval: float = 0.02
    active: Callable[[], int] = lambda: 1  # answers in progress: the more there are, the longer the interval
    prefix: str = "chatcmpl"
    echoes: list[str] = field(default_factory=list)  # per choice: the text before the answer
    created: int = field(default_factory=lambda: int(time.time()))
    usage: Usage = field(default_factory=lambda: Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0))

    def __post_init__(self) -> None:
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"
        self.token_times = [TokenTimes() for _ in self.generations]


class Decoder:
    """Turns one choice's chunks into text."""

    def __init__(self, codec: Codec | None, stop_ids: frozenset[int], request: Generation) -> None:
        self._stop_ids, self._scoring = stop_ids, request.logprobs is not None
        self._detokenizer = Detokenizer(codec.decode) if codec is not None else None
        self._stops = StopStrings(request.stops)
        self._stepwise = bool(request.stops) or self._scoring
        self._pending: list[ScoredToken] = []  # tokens whose text is not out yet
        self._decoded = 0  # characters of whole text so far
        self._sent = 0
        self.prompt_tokens = len(request.prompt.ids)
        self.completion_tokens = 0
        self.finish_reason: FinishReason | None = None

    def over(self) -> bool:
        """Whether the choice has ended."""
        return self.finish_reason is not None

    def push(self, chunk: Chunk) -> tuple[str, list[ScoredToken]]:
        """Returns new text and its scored tokens; the last chunk sets `finish_reason`."""
        if chunk.usage is not None:
            self.prompt_tokens, self.completion_tokens = chunk.usage
        text = self._stops.push(chunk.text) if chunk.text else ""
        step = 1 if self._stepwise else max(1, len(chunk.token_ids))
        for start in range(0, len(chunk.token_ids), step):
            if self._stops.hit:
                break
            scores = chunk.logprobs[start : start + step] if chunk.logprobs else []
            text += self._tokens(chunk.token_ids[start : start + step], scores)
        if self._stops.hit:
            self.finish_reason = "stop"
        elif chunk.finish_reason is not None:
            text += self._end()
            self.finish_reason = "stop" if self._stops.hit else chunk.finish_reason
        self._sent += len(text)
        return text, self._release(text)

    def _tokens(self, ids: list[int], scores: list[Logprob]) -> str:
        self.completion_tokens += len(ids)
        shown = [token for token in ids if token not in self._stop_ids]
        if self._scoring and shown:
            self._pending.append(ScoredToken(shown[0], scores[0], self._decoded))
        piece = self._detokenizer.push(shown) if self._detokenizer is not None else ""
        self._decoded += len(piece)
        return self._stops.push(piece)

    def _end(self) -> str:
        rest = self._stops.push(self._detokenizer.flush()) if self._detokenizer is not None else ""
        return rest + self._stops.flush()

    def _release(self, text: str) -> list[ScoredToken]:
        """Returns the tokens that begin in the text sent so far; at the end, all of them."""
        if not text and self.finish_reason is None:
            return []
        whole = self.finish_reason is not None and not self._stops.hit
        out = [scored for scored in self._pending if whole or scored.offset < self._sent]
        self._pending = [] if self.finish_reason is not None else self._pending[len(out) :]
        return out


class _Mailbox:
    """Chunks from the engine, handed over at once for the first and the last, else at the next interval."""

    def __init__(self, interval: Callable[[], float], first: float, deadline: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._interval, self._due = interval, self._loop.time() + first
        self._items: list[tuple[int, Chunk | BaseException]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._deadline_timer = self._loop.call_at(deadline, self._expire)  # one timer for all waits
        self._expired = False

    def _expire(self) -> None:
        self._expired = True
        self._ready.set()

    def put(self, index: int, item: Chunk | BaseException) -> None:
        self._items.append((index, item))
        last = isinstance(item, BaseException) or item.finish_reason is not None
        if last or self._loop.time() >= self._due:
            self._ready.set()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._due, self._ready.set)

    async def take(self) -> list[tuple[int, Chunk | BaseException]]:
        """Returns the chunks so far; raises `ApiError` (408) beyond the deadline."""
        await self._ready.wait()
        if self._expired:
            raise errors.timed_out()
        self._stop_timer()
        self._ready.clear()
        items, self._items = self._items, []
        return items

    def begin_interval(self) -> None:
        """Begins the next interval, once text was sent: the rest of a half character must not wait."""
        self._due = self._loop.time() + self._interval()

    def close(self) -> None:
        self._stop_timer()
        self._deadline_timer.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _pump(engine: Engine, job: Job, index: int, mailbox: _Mailbox) -> None:
    try:
        async with aclosing(engine.generate(job.generations[index])) as chunks:
            async for chunk in chunks:
                if chunk.token_ids or chunk.text:
                    job.token_times[index].record(time.monotonic())
                mailbox.put(index, chunk)
                if chunk.finish_reason is not None:
                    return
        raise EngineError("the engine ended an answer without a reason")
    except Exception as error:  # raised again where the pieces are read
        mailbox.put(index, error)


async def pieces(engine: Engine, job: Job) -> AsyncGenerator[list[Piece], None]:
    """Yields the answer's new pieces, at most one per choice, in the order of choices; sets `job.usage`.

    Raises `EngineError`, and `ApiError` (408) beyond the deadline.
    """
    prompt = job.stream or any(request.stops for request in job.generations)
    interval = (lambda: max(job.interval, job.active() / EVENTS)) if prompt else (lambda: WHOLE)
    mailbox = _Mailbox(interval, 0.0 if prompt else WHOLE, job.deadline)
    decoders = [Decoder(engine.codec, engine.stop_ids, request) for request in job.generations]
    pumps = [asyncio.create_task(_pump(engine, job, i, mailbox)) for i in range(len(decoders))]
    try:
        while not all(decoder.over() for decoder in decoders):
            batch = _decode(decoders, await mailbox.take())
            for index, piece in batch.items():
                if piece.finish_reason is not None:
                    job.token_times[index].finish_reason = piece.finish_reason
                    pumps[index].cancel()
            if batch:
                mailbox.begin_interval()
                yield [batch[index] for index in sorted(batch)]
    finally:
        job.usage = _usage(job, decoders)
        for times, decoder in zip(job.token_times, decoders, strict=True):
            times.tokens = decoder.completion_tokens
        mailbox.close()
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


def _decode(decoders: list[Decoder], items: list[tuple[int, Chunk | BaseException]]) -> dict[int, Piece]:
    batch: dict[int, Piece] = {}
    for index, group in _grouped(items).items():
        decoder = decoders[index]
        if decoder.over():
            continue  # beyond a stop string
        text, scored = "", list[ScoredToken]()
        for chunk in group:
            if isinstance(chunk, BaseException):
                raise chunk
            new, more = decoder.push(chunk)
            text, scored = text + new, scored + more
            if decoder.over():
                break
        if text or scored or decoder.over():
            batch[index] = Piece(index, text, scored, decoder.finish_reason)
    return batch


def _grouped(items: list[tuple[int, Chunk | BaseException]]) -> dict[int, list[Chunk | BaseException]]:
    """Returns each choice's chunks; neighbours without log-probabilities are joined and decoded at once."""
    groups: dict[int, list[Chunk | BaseException]] = {}
    for index, item in items:
        group = groups.setdefault(index, [])
        before = group[-1] if group else None
        if isinstance(item, Chunk) and isinstance(before, Chunk) and item.logprobs is None and not item.text:
            group[-1] = Chunk(before.token_ids + item.token_ids, item.finish_reason, None, before.text, item.usage)
        else:
            group.append(item)
    return groups


def _usage(job: Job, decoders: list[Decoder]) -> Usage:
    """Returns the tokens of all prompts, each counted once, and of all choices."""
    each = len(decoders) // job.prompts
    prompt = sum(decoder.prompt_tokens for decoder in decoders[::each])
    completion = sum(decoder.completion_tokens for decoder in decoders)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
