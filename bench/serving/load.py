"""A small load generator for OpenAI-compatible servers: closed loop, or open loop with Poisson arrivals.

Output contract: `run` returns one `Answer` per request, also for those that failed: its status (0: the connection
broke, or the stream ended early), times and tokens. Tokens are those of the server's own `usage`.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

REFUSED = 429


@dataclass
class Target:
    """A server: `url` ends before `/chat/completions`."""

    url: str
    model: str
    key: str = "none"


@dataclass
class Answer:
    """What became of one request; times in seconds."""

    status: int = 0
    seconds: float = 0.0
    first: float = 0.0  # until the first text
    gaps: list[float] = field(default_factory=list)  # between events with text
    tokens: int = 0


@dataclass(frozen=True)
class Load:
    """`requests` in all, `at_once` of them open at a time (closed loop), or `rate` new ones a second (open loop)."""

    requests: int
    at_once: int = 1
    rate: float | None = None
    max_tokens: int = 64
    stream: bool = True
    seed: int = 0  # of the prompts: another one's are in no cache
    first: int = 0  # number of the first request: prompts go by number

    def share(self, number: int, of: int) -> Load:
        """Returns the part of a closed loop that one of several clients puts on."""
        ends = [self.requests * at // of for at in (number, number + 1)]
        at_once = self.at_once * (number + 1) // of - self.at_once * number // of
        return replace(self, requests=ends[1] - ends[0], at_once=at_once, first=self.first + ends[0])


def prompt(number: int, seed: int = 0) -> str:
    """Returns the text of a request."""
    draw = random.Random(number + 1_000_000 * seed)
    return " ".join(draw.choice(("card", "account", "transfer", "limit", "refund", "pin")) for _ in range(20))


async def _ask(session: aiohttp.ClientSession, target: Target, load: Load, number: int) -> Answer:
    body: dict[str, Any] = {
        "model": target.model,
        "messages": [{"role": "user", "content": prompt(number, load.seed)}],
        "max_tokens": load.max_tokens,
        "temperature": 0,
        "stream": load.stream,
    }
    if load.stream:
        body["stream_options"] = {"include_usage": True}
    answer, began = Answer(), time.perf_counter()
    try:
        async with session.post(
            f"{target.url}/chat/completions", json=body, headers={"Authorization": f"Bearer {target.key}"}
        ) as response:
            if load.stream and response.status == 200:
                answer.status = 200 if await _read(response, answer, began) else 0
            else:
                content = await response.read()
                answer.status = response.status
                if response.status == 200:
                    answer.tokens = json.loads(content)["usage"]["completion_tokens"]
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        answer.status = 0
    answer.seconds = time.perf_counter() - began
    return answer


async def _read(response: aiohttp.ClientResponse, answer: Answer, began: float) -> bool:
    """Reads a stream to its end; tells whether it ended as it should."""
    last = 0.0
    async for line in response.content:
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            return True
        event = json.loads(line[6:])
        if event.get("usage"):
            answer.tokens = event["usage"]["completion_tokens"]
        choices = event.get("choices") or []
        if choices and choices[0]["delta"].get("content"):
            now = time.perf_counter()
            if last:
                answer.gaps.append(now - last)
            else:
                answer.first = now - began
            last = now
    # transformers' server sends no [DONE]
    return bool(last)


async def _all(target: Target, load: Load) -> list[Answer]:
    connector = aiohttp.TCPConnector(limit=0, force_close=False)
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        if load.rate is not None:
            return await _open(session, target, load)
        numbers = iter(range(load.first, load.first + load.requests))
        answers: list[Answer] = []

        async def worker() -> None:
            for number in numbers:
                answer = await _ask(session, target, load, number)
                answers.append(answer)

        await asyncio.gather(*(worker() for _ in range(load.at_once)))
        return answers


async def _open(session: aiohttp.ClientSession, target: Target, load: Load) -> list[Answer]:
    draw, tasks = random.Random(0), []
    for number in range(load.requests):
        tasks.append(asyncio.create_task(_ask(session, target, load, number)))
        await asyncio.sleep(draw.expovariate(load.rate or 1.0))
    return list(await asyncio.gather(*tasks))


def run(target: Target, load: Load, clients: int = 1) -> tuple[list[Answer], float]:
    """Puts the load on the server; returns the answers and the seconds it took in all.

    `clients`: processes that share a closed loop. One takes 0.14 ms or more for a request, which is a pause for all
    where many answers end together; a server's users do not wait for each other.
    """
    clients = 1 if load.rate is not None else min(clients, load.at_once)
    if clients == 1:
        began = time.perf_counter()
        answers = _part(target, load)
        return answers, time.perf_counter() - began
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(clients, context, _meet, [context.Barrier(clients)]) as pool:
        list(pool.map(_ready, range(clients)))
        began = time.perf_counter()
        parts = list(pool.map(_part, [target] * clients, [load.share(at, clients) for at in range(clients)]))
        return [answer for part in parts for answer in part], time.perf_counter() - began


def _meet(others: Any) -> None:
    """Ends when all clients are up."""
    others.wait()


def _ready(_: int) -> None:
    """Nothing: has a client started."""


def _part(target: Target, load: Load) -> list[Answer]:
    return asyncio.run(_all(target, load))


def speed(answers: Sequence[Answer], seconds: float) -> float:
    """Returns generated tokens per second, of the answers that came whole."""
    return sum(answer.tokens for answer in answers if answer.status == 200) / seconds


def lost(answers: Sequence[Answer]) -> int:
    """Returns how many requests were neither answered nor refused."""
    return sum(answer.status not in (200, REFUSED) for answer in answers)


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value that this share of the values does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def middle(values: Sequence[float]) -> float:
    return statistics.median(values)
