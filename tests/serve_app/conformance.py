"""What every engine must do, as far as it says it can: the same checks for each of them, on the GPU too.

A check takes an engine and a function that runs a coroutine on the event loop the engine lives on. Engines without a
codec are asked in text; what can be seen of them is less.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import jsonschema
import pytest

from serve_app.engines import BusyError, Chunk, Engine, Generation, Option, Prompt, RefusedError
from tests.serve_app.client import CHAT, SETTINGS, TEXT, application, connect, envelope, events

Run = Callable[[Coroutine[Any, Any, Any]], Any]
QUESTIONS = ["How do I block my card?", "Open an account, please.", "x", "Wie geht das? Grüße, 東京"]


def ask(engine: Engine, text: str = QUESTIONS[0], **settings: Any) -> Generation:
    messages = [{"role": "user", "content": text}]
    prompt = Prompt([] if engine.codec is None else engine.codec.render(messages), messages=messages)
    return Generation(prompt, settings.pop("max_tokens", 24), **{"temperature": 0.0, **settings})


async def chunks_of(engine: Engine, request: Generation) -> list[Chunk]:
    async with aclosing(engine.generate(request)) as chunks:
        return [chunk async for chunk in chunks]


async def answers(engine: Engine, *requests: Generation) -> list[list[Chunk]]:
    return await asyncio.gather(*[chunks_of(engine, request) for request in requests])


def said(chunks: list[Chunk]) -> tuple[list[int], str]:
    return [token for chunk in chunks for token in chunk.token_ids], "".join(chunk.text for chunk in chunks)


def needs(engine: Engine, option: Option) -> None:
    if option not in engine.options:
        pytest.skip(f"this engine does not offer {option}")


def ends_once_within_its_limit(engine: Engine, run: Run) -> None:
    requests = [ask(engine, text, max_tokens=limit) for text in QUESTIONS for limit in (1, 17)]
    for request, chunks in zip(requests, run(answers(engine, *requests)), strict=True):
        assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        ids, text = said(chunks)
        assert chunks[-1].finish_reason in ("stop", "length")
        if engine.codec is None:
            assert text
            assert chunks[-1].usage is not None
            assert 0 < chunks[-1].usage[1] <= request.max_tokens
        else:
            assert 0 < len(ids) <= request.max_tokens
            assert (chunks[-1].finish_reason == "stop") == (ids[-1] in engine.stop_ids)
            assert all(0 <= token < engine.codec.size for token in ids)


def is_the_same_when_greedy(engine: Engine, run: Run) -> None:
    requests = [ask(engine, text) for text in QUESTIONS]
    alone = [said(run(chunks_of(engine, request))) for request in requests]
    assert alone == [said(chunks) for chunks in run(answers(engine, *requests))]
    assert said(run(chunks_of(engine, ask(engine, temperature=1.0, top_p=0.0, seed=3)))) == alone[0]


def repeats_itself(engine: Engine, run: Run) -> None:
    """The weaker promise, of 16-bit arithmetic: one request at a time, greedy and seeded."""
    for settings in ({"temperature": 0.0}, {"temperature": 1.3, "seed": 5}):
        request = ask(engine, **settings)
        assert said(run(chunks_of(engine, request))) == said(run(chunks_of(engine, request)))
    others = [said(run(chunks_of(engine, ask(engine, temperature=1.3, seed=seed)))) for seed in (5, 6, -7, 2**62)]
    assert len({str(one) for one in others}) > 2


def draws_by_seed(engine: Engine, run: Run) -> None:
    needs(engine, "seed")
    requests = [ask(engine, temperature=1.3, seed=seed) for seed in (5, 6, -7, 2**62, 5)]
    got = [said(chunks) for chunks in run(answers(engine, *requests))]
    assert got[0] == got[4] == said(run(chunks_of(engine, requests[0])))
    assert len({str(one) for one in got}) > 2


def scores_its_tokens(engine: Engine, run: Run) -> None:
    needs(engine, "logprobs")
    for count in (0, 3):
        chunks = run(chunks_of(engine, ask(engine, logprobs=count)))
        plain = run(chunks_of(engine, ask(engine)))
        assert said(chunks) == said(plain)
        assert all(chunk.logprobs is None for chunk in plain)
        for chunk in chunks:
            assert chunk.logprobs is not None
            assert len(chunk.logprobs) == len(chunk.token_ids)
            for token, score in zip(chunk.token_ids, chunk.logprobs, strict=True):
                values = [value for _, value in score.top]
                assert score.value <= 0
                assert len(score.top) == count or token in engine.stop_ids
                assert values == sorted(values, reverse=True)
                if score.top:
                    assert score.top[0] == (token, pytest.approx(score.value))  # greedy


def takes_penalties(engine: Engine, run: Run) -> None:
    needs(engine, "penalties")
    plain, punished = run(answers(engine, ask(engine), ask(engine, frequency_penalty=2.0, presence_penalty=2.0)))
    assert said(plain) != said(punished)
    assert said(run(chunks_of(engine, ask(engine, frequency_penalty=2.0, presence_penalty=2.0)))) == said(punished)


def keeps_to_a_schema(engine: Engine, run: Run) -> None:
    needs(engine, "json")
    properties = {"city": {"enum": ["Bonn", "Kiel"]}, "open": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties, "required": ["city", "open"], "additionalProperties": False}
    for temperature in (0.0, 1.5):
        request = ask(engine, schema=schema, temperature=temperature, max_tokens=60)
        ids, text = said(run(chunks_of(engine, request)))
        whole = text if engine.codec is None else engine.codec.decode(ids)
        jsonschema.validate(json.loads(whole), schema)
    if engine.codec is not None:
        for impossible in ({"type": "nonsense"}, {"$ref": "#/nowhere"}, {"type": "string", "pattern": "(?=x)y"}):
            with pytest.raises(RefusedError) as caught:
                run(chunks_of(engine, ask(engine, schema=impossible)))
            assert caught.value.param == "response_format"


def goes_on_when_clients_leave(engine: Engine, run: Run) -> None:
    async def leave() -> None:
        for _ in range(12):
            async with aclosing(engine.generate(ask(engine, temperature=1.2, max_tokens=80))) as chunks:
                await anext(chunks)
        waiting = [asyncio.create_task(chunks_of(engine, ask(engine, max_tokens=80))) for _ in range(12)]
        await asyncio.sleep(0.02)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def once_there_is_room() -> list[Chunk]:
        while True:
            try:
                return await chunks_of(engine, ask(engine))
            except BusyError:  # a server behind this one learns of hung up connections a moment later
                await asyncio.sleep(0.1)

    before = said(run(chunks_of(engine, ask(engine))))
    run(asyncio.wait_for(leave(), 60))
    assert said(run(asyncio.wait_for(once_there_is_room(), 60))) == before
    run(engine.check())


def serves_both_apis(engine: Engine, run: Run) -> None:
    chat = {"model": engine.model_id, "messages": [{"role": "user", "content": QUESTIONS[0]}], "temperature": 0}
    text = {"model": engine.model_id, "prompt": QUESTIONS[0], "temperature": 0}

    async def session() -> None:
        async with connect(application(engine, SETTINGS)) as client:
            for path, body in ((CHAT, chat), (TEXT, text)):
                whole = (await client.post(path, json={**body, "max_tokens": 24})).json()
                counted = {"stream": True, "stream_options": {"include_usage": True}}
                got = events(await client.post(path, json={**body, "max_tokens": 24, **counted}))
                assert got.pop() == "[DONE]"
                assert got.pop()["usage"] == whole["usage"]
                assert _joined(got) == _text(whole)
                assert got[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
                stop = _text(whole)[5:9]
                cut = (await client.post(path, json={**body, "max_tokens": 24, "stop": [stop, "\x00"]})).json()
                assert _text(cut) == _text(whole).partition(stop)[0]
                assert cut["choices"][0]["finish_reason"] == "stop"
                assert cut["usage"]["completion_tokens"] <= whole["usage"]["completion_tokens"]
            for param, body, option in (
                ("logprobs", {"logprobs": True}, "logprobs"),
                ("frequency_penalty", {"frequency_penalty": 1}, "penalties"),
                ("response_format", {"response_format": {"type": "json_object"}}, "json"),
            ):
                if option not in engine.options:
                    refused = await client.post(CHAT, json={**chat, **body})
                    assert refused.status_code == 400
                    assert envelope(refused)["param"] == param

    run(session())


def _text(whole: dict[str, Any]) -> str:
    choice = whole["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


def _joined(chunks: list[dict[str, Any]]) -> str:
    choices = [chunk["choices"][0] for chunk in chunks]
    return "".join(one["delta"].get("content", "") if "delta" in one else one["text"] for one in choices)


EXACT = [is_the_same_when_greedy, draws_by_seed]  # whatever else is in the batch
CHECKS = [
    ends_once_within_its_limit,
    scores_its_tokens,
    takes_penalties,
    keeps_to_a_schema,
    goes_on_when_clients_leave,
    serves_both_apis,
]
