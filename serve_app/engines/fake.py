"""The fake engine: answers by arithmetic, without a model or a package. For tests and load on the rest of the service.

Output contract: a token is a byte; the answer is lower-case words drawn by (seed, prompt), some with characters of two
and more bytes. Greedy answers depend on the prompt alone. Characters come one by one, `interval` seconds apart; with 0
the loop only gets a turn between them. Log-probabilities are invented but consistent; penalties only shift the draw.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence

from serve_app.engines import Chunk, EngineError, FinishReason, Generation, Logprob, Option

END, ROLES = 256, {"system": 257, "user": 258, "assistant": 259}
WORDS = [
    *("card", "account", "café", "grüße", "東京", "transfer", "limit"),
    *("€", "bank", "pin", "🙂", "open", "block", "help"),
]


class ByteCodec:
    """Bytes as tokens, one more for the end and for each role."""

    size = 260

    def render(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """See `Codec`."""
        ids: list[int] = []
        for message in messages:
            ids += [ROLES[message["role"]], *message["content"].encode(), END]
        return [*ids, ROLES["assistant"]]

    def encode(self, text: str) -> list[int]:
        """See `Codec`."""
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        """See `Codec`."""
        return bytes(token for token in ids if token < END).decode(errors="replace")

    def piece(self, token: int) -> bytes:
        """See `Codec`."""
        return bytes([token]) if token < END else b""


class FakeEngine:
    """See `Engine`. An answer has `length` words; with 0 it goes on until `max_tokens`."""

    codec = ByteCodec()
    stop_ids = frozenset({END})
    options: frozenset[Option] = frozenset({"seed", "logprobs", "penalties"})
    created = 1

    def __init__(self, model_id: str, max_context: int, interval: float = 0.0, length: int = 12) -> None:
        self.model_id, self.max_context, self.interval, self.length = model_id, max_context, interval, length
        self.running = 0
        self.ended = False

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`."""
        self.running += 1
        try:
            for left, token in enumerate(self.tokens(request), 1 - request.max_tokens):
                inside = 0x80 <= token < 0xC0  # of a character that has begun: clients get it whole
                await asyncio.sleep(0 if inside else self.interval)
                await self.check()
                ended: FinishReason | None = "stop" if token == END else "length" if left == 0 else None
                scores = None if request.logprobs is None else [self._score(token, request.logprobs)]
                yield Chunk([token], ended, scores)
        finally:
            self.running -= 1

    def answer(self, request: Generation) -> list[int]:
        """Returns the whole answer's ids, the end token included where `max_tokens` leaves room for it."""
        return list(self.tokens(request))

    def tokens(self, request: Generation) -> Iterator[int]:
        """Returns the tokens of the answer, at most `max_tokens`."""
        return itertools.islice(self._words(request), request.max_tokens)

    def _words(self, request: Generation) -> Iterator[int]:
        seed: int | str = request.seed if request.seed is not None else secrets.randbits(63)
        if request.greedy:
            seed = "greedy"
        settings = (seed, request.prompt.ids, request.frequency_penalty, request.presence_penalty)
        draw = random.Random(repr(settings))
        for number in range(self.length) if self.length else itertools.count():
            yield from ((" " if number else "") + draw.choice(WORDS)).encode()
        yield END

    @staticmethod
    def _score(token: int, count: int) -> Logprob:
        others = [(token + step) % END for step in range(1, count)]
        ranked = [(token, -0.5), *((other, -0.5 - rank) for rank, other in enumerate(others, 1))]
        return Logprob(-0.5, tuple(ranked[:count]))

    async def check(self) -> None:
        """See `Engine`."""
        if self.ended:
            raise EngineError("the engine was stopped")

    async def stop(self) -> None:
        """See `Engine`."""
        self.ended = True
