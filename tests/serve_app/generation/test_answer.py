"""From tokens to text and its scores: stop strings, log-probabilities, choices, counting, pace, deadlines."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from pipeline.models.template import chat_prompt
from serve_app import errors
from serve_app.engines import Chunk, EngineError, Generation, Logprob, Prompt
from serve_app.engines.codec import HfCodec
from serve_app.engines.fake import END, ByteCodec, FakeEngine
from serve_app.generation import answer
from serve_app.generation.answer import Decoder, Job

CODEC, STOPS = ByteCodec(), frozenset({END})


def job(*generations: Generation, **settings: Any) -> Job:
    deadline = asyncio.get_running_loop().time() + settings.pop("deadline", 30)
    return Job(list(generations), settings.pop("prompts", 1), deadline, **settings)


def ask(**settings: Any) -> Generation:
    return Generation(Prompt(settings.pop("ids", [1, 2, 3])), settings.pop("max_tokens", 200), **settings)


async def collect(engine: Any, made: Job) -> list[list[answer.Piece]]:
    async with aclosing(answer.pieces(engine, made)) as batches:
        return [batch async for batch in batches]


def whole(engine: Any, *generations: Generation, **settings: Any) -> tuple[dict[int, str], Job]:
    async def run() -> tuple[dict[int, str], Job]:
        made = job(*generations, **settings)
        texts: dict[int, str] = {}
        for batch in await collect(engine, made):
            for piece in batch:
                texts[piece.index] = texts.get(piece.index, "") + piece.text
        return texts, made

    return asyncio.run(run())


class Pattern:
    """An engine that says fixed bytes `every` seconds, `size` at a time, and has more to say than it may."""

    codec, stop_ids = CODEC, STOPS

    def __init__(self, text: str, every: float = 0.0, size: int = 1) -> None:
        self.ids, self.every, self.size = list(text.encode()), every, size
        self.open = self.given = 0

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        self.open += 1
        try:
            for at in range(0, len(self.ids), self.size):
                await asyncio.sleep(self.every)
                part = self.ids[at : at + self.size]
                self.given += len(part)
                scores = None if request.logprobs is None else [Logprob(-0.5, ((token, -0.5),)) for token in part]
                yield Chunk(part, "length" if at + self.size >= len(self.ids) else None, scores)
        finally:
            self.open -= 1


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("stream", [True, False])
def test_a_stop_string_across_tokens_ends_text_count_and_engine(size: int, stream: bool) -> None:
    engine = Pattern("Grüße, one. two. three." * 50, size=size)
    texts, made = whole(engine, ask(stops=("two", "zzz")), stream=stream)
    assert texts == {0: "Grüße, one. "}
    assert made.usage.completion_tokens == len("Grüße, one. two".encode())  # none that came beyond
    assert engine.open == 0


def test_pieces_never_split_a_character_however_tokens_come() -> None:
    engine = Pattern("a東京🙂é", every=0.002)

    async def run() -> list[str]:
        return [piece.text for batch in await collect(engine, job(ask(), stream=True, interval=0.0)) for piece in batch]

    got = asyncio.run(run())
    assert "".join(got) == "a東京🙂é"
    assert len(got) > 3
    assert not any("\ufffd" in text for text in got)


@pytest.mark.parametrize("stops", [(), ("!!",)])
def test_scored_tokens_are_those_of_the_text(stops: tuple[str, ...]) -> None:
    engine = Pattern("é and 東!! more")

    async def run() -> list[answer.Piece]:
        made = job(ask(logprobs=1, stops=stops), stream=True, interval=0.0)
        return [piece for batch in await collect(engine, made) for piece in batch]

    got = asyncio.run(run())
    text = "".join(piece.text for piece in got)
    scored = [one for piece in got for one in piece.scored]
    assert text == ("é and 東" if stops else "é and 東!! more")
    assert b"".join(CODEC.piece(one.token) for one in scored).decode() == text
    assert [one.offset for one in scored[:3]] == [0, 0, 1]  # two bytes of one character
    written = ""
    for piece in got:
        if piece.scored:
            written += b"".join(CODEC.piece(one.token) for one in piece.scored).decode()
            assert written == "".join(other.text for other in got[: got.index(piece) + 1])


def test_choices_are_made_side_by_side_and_a_prompt_counts_once() -> None:
    engine = FakeEngine("m", 1000)
    prompts = [Prompt([1, 2, 3]), Prompt([4, 5])]
    generations = [Generation(prompt, 50, seed=seed) for prompt in prompts for seed in (1, 2)]
    texts, made = whole(engine, *generations, prompts=2)
    assert len(set(texts.values())) == 4
    assert made.usage.prompt_tokens == 5
    assert made.usage.completion_tokens == sum(len(engine.answer(one)) for one in generations)
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens


def test_the_first_piece_comes_at_once_and_then_few() -> None:
    engine = Pattern("x" * 60, every=0.004)

    async def run() -> tuple[list[float], int]:
        loop, times, size = asyncio.get_running_loop(), [], 0
        async with aclosing(answer.pieces(engine, job(ask(), stream=True, interval=0.04))) as batches:
            async for batch in batches:
                times.append(loop.time())
                size += len(batch[0].text)
        return times, size

    times, size = asyncio.run(run())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert size == 60
    assert 4 <= len(times) <= (times[-1] - times[0]) / 0.04 + 2
    assert min(gaps[:-1]) >= 0.035  # the last comes when it is there


def test_the_deadline_ends_a_wait_and_cancels() -> None:
    engine = Pattern("x" * 1000, every=0.05)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(errors.ApiError) as caught:
            await collect(engine, job(ask(), ask(), deadline=0.2))
        assert caught.value.status == 408
        assert loop.time() - started < 1

    asyncio.run(run())
    assert engine.open == 0


def test_an_engine_that_ends_without_a_reason_is_an_error_and_not_a_wait() -> None:
    class Silent(Pattern):
        async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
            yield Chunk([65])

    with pytest.raises(EngineError, match="without a reason"):
        whole(Silent(""), ask())


def test_one_failing_choice_cancels_the_others() -> None:
    class Half(Pattern):
        async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
            if request.seed == 1:
                raise EngineError("broken")
            async with aclosing(super().generate(request)) as chunks:
                async for chunk in chunks:
                    yield chunk

    engine = Half("x" * 1000, every=0.05)
    with pytest.raises(EngineError, match="broken"):
        whole(engine, ask(seed=0), ask(seed=1))
    assert engine.open == 0


def test_text_of_an_engine_without_a_codec_is_cut_and_counted_as_it_says() -> None:
    decoder = Decoder(None, frozenset(), ask(ids=[], stops=("END",)))
    assert decoder.push(Chunk([], text="one E"))[0] == "one "
    assert decoder.push(Chunk([], text="NDless"))[0] == ""
    assert decoder.finish_reason == "stop"
    other = Decoder(None, frozenset(), ask(ids=[]))
    assert other.push(Chunk([], "length", text="all", usage=(7, 3)))[0] == "all"
    assert (other.prompt_tokens, other.completion_tokens, other.finish_reason) == (7, 3, "length")


@pytest.mark.parametrize("text", ["Grüße, 東京 🙂", "plain <|end|> text", " a\n\tb"])
def test_the_bytes_of_tokens_join_to_the_text(tokenizer: Any, text: str) -> None:
    codec = HfCodec(tokenizer)
    ids = codec.encode(text)
    assert b"".join(codec.piece(token) for token in ids).decode() == text


def test_a_conversation_has_the_ids_of_training_whatever_the_tokenizer_cuts(tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "Where is my card? " * 20}]
    wanted, text = chat_prompt(tokenizer, messages), tokenizer("Where is my card?").input_ids
    tokenizer.backend_tokenizer.enable_truncation(8)  # as a tokenizer.json may have it
    tokenizer.backend_tokenizer.enable_padding(length=1000)
    codec = HfCodec(tokenizer)
    assert codec.render(messages) == wanted
    assert codec.encode("Where is my card?") == text
    assert len(wanted) > 8


def test_bytes_of_a_sentencepiece_vocabulary(tokenizer: Any) -> None:
    codec = HfCodec(tokenizer)
    codec._bytes = None
    codec.tokenizer = type("Stub", (), {"convert_ids_to_tokens": lambda _, token: ["▁card", "<0xE2>"][token - 1000]})()
    assert [codec.piece(1000), codec.piece(1001)] == [b" card", b"\xe2"]


def test_the_more_answers_there_are_the_more_is_put_together() -> None:
    async def events(active: int) -> int:
        engine = FakeEngine("tiny", 500, interval=0.002, length=0)
        request = Generation(Prompt([65]), 100, temperature=0.0)
        job = answer.Job([request], 1, asyncio.get_running_loop().time() + 30, stream=True, active=lambda: active)
        return len([batch async for batch in answer.pieces(engine, job)])

    few, many = asyncio.run(events(1)), asyncio.run(events(200))
    assert 1 < many < few / 2


def test_a_character_in_two_tokens_is_not_held_for_an_interval() -> None:
    async def run() -> list[float]:
        started = time.monotonic()
        made, engine = job(ask(), stream=True, interval=0.5), Halves()
        async with aclosing(answer.pieces(engine, made)) as batches:  # type: ignore[arg-type]
            return [time.monotonic() - started async for batch in batches if batch[0].text == "é"]

    assert asyncio.run(run())[0] < 0.3


class Halves:
    """An engine whose first character comes in two tokens, the second a moment later; then nothing for a while."""

    codec, stop_ids = CODEC, STOPS

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        for token in "é".encode():
            yield Chunk([token], None)
            await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        yield Chunk([END], "stop")
