"""Metrics: vLLM's names, labels and buckets, and numbers that are those of the requests that were made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.config import Serve
from serve_app.engines import Chunk, Generation
from serve_app.engines.fake import FakeEngine
from serve_app.generation.latency import GAPS, TokenTimes
from serve_app.observe import metrics
from tests.serve_app.client import ASK, CHAT, KEY, SETTINGS, application, connect, talk

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
OURS = {"model_name": "tiny", "engine": "0"}


def parsed(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted({**OURS, **labels}.items()))]


async def scrape(client: httpx.AsyncClient) -> Samples:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == metrics.CONTENT_TYPE
    return parsed(response.text)


def test_requests_are_counted_as_they_were() -> None:
    async def step(client: httpx.AsyncClient) -> tuple[list[Any], Samples]:
        whole = (await client.post(CHAT, json={**ASK, "max_tokens": 10, "n": 2, "seed": 1})).json()
        options = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 100, "temperature": 0}
        assert (await client.post(CHAT, json={**ASK, **options})).status_code == 200
        plain = (await client.post(CHAT, json={**ASK, "max_tokens": 100, "temperature": 0})).json()
        assert (await client.post(CHAT, json={**ASK, "model": "other"})).status_code == 404
        assert (await client.get("/nowhere/4111")).status_code == 404
        return [whole["usage"], plain["usage"], plain["usage"]], await scrape(client)  # the stream said the same

    usages, samples = talk(FakeEngine("tiny", 250, interval=0.002), step)
    for name, field in (("prompt", "prompt_tokens"), ("generation", "completion_tokens")):
        assert value(samples, f"vllm:{name}_tokens_total") == sum(usage[field] for usage in usages)
    ended = {reason: value(samples, "vllm:request_success_total", finished_reason=reason) for reason in metrics.REASONS}
    assert ended == {"stop": 2, "length": 2, "content_filter": 0, "abort": 0, "error": 0}
    assert value(samples, "vllm:e2e_request_latency_seconds_count") == 3
    assert value(samples, "vllm:time_to_first_token_seconds_count") == 4
    tokens = sum(usage["completion_tokens"] for usage in usages)
    assert value(samples, "vllm:inter_token_latency_seconds_count") == tokens - 4
    assert 0.001 * (tokens - 4) <= value(samples, "vllm:inter_token_latency_seconds_sum") < 5
    assert value(samples, "vllm:request_generation_tokens_sum") == tokens
    assert value(samples, "vllm:request_params_n_sum") == 4
    assert value(samples, "vllm:num_requests_running") == value(samples, "vllm:num_requests_waiting") == 0
    routes = {labels: count for (name, labels), count in samples.items() if name == "solotune:http_requests_total"}
    assert routes[("route", CHAT), ("status", "200")] == 3
    assert routes[("route", CHAT), ("status", "404")] == 1
    assert routes[("route", "unknown"), ("status", "404")] == 1
    assert "4111" not in str(sorted(routes))


def test_refusals_at_the_door_count_under_their_route() -> None:
    async def step(client: httpx.AsyncClient) -> Samples:
        wrong, large = {"Authorization": "Bearer x"}, {"Content-Length": str(SETTINGS.body_limit + 1)}
        assert (await client.post(CHAT, json=ASK, headers=wrong)).status_code == 401
        assert (await client.post(f"http://test/{CHAT}/", content=b"", headers=large)).status_code == 413
        assert (await client.get("/v1/models/4111", headers=wrong)).status_code == 401
        assert (await client.get(CHAT)).status_code == 405
        assert (await client.get("/nowhere/4111", headers=wrong)).status_code == 401
        return await scrape(client)

    samples = talk(FakeEngine("tiny", 250), step)
    counted = {labels: count for (name, labels), count in samples.items() if name == "solotune:http_requests_total"}
    expected = [(CHAT, 401), (CHAT, 413), ("/v1/models/{model_id:path}", 401), (CHAT, 405), ("unknown", 401)]
    assert counted == {(("route", route), ("status", str(status))): 1 for route, status in expected}


def test_names_and_buckets_are_those_of_vllm() -> None:
    samples = talk(FakeEngine("tiny", 250), scrape)
    buckets: dict[str, list[str]] = {}
    for name, labels in samples:
        if name.endswith("_bucket"):
            buckets.setdefault(name.removesuffix("_bucket"), []).append(dict(labels)["le"])
    itl = "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0 +Inf"
    assert buckets["vllm:inter_token_latency_seconds"] == itl.split(" ")
    assert buckets["vllm:request_time_per_output_token_seconds"] == itl.split(" ")
    first = "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0 160.0 640.0"
    assert buckets["vllm:time_to_first_token_seconds"] == [*first.split(), "2560.0", "+Inf"]
    assert buckets["vllm:e2e_request_latency_seconds"][:3] == ["0.3", "0.5", "0.8"]
    assert buckets["vllm:request_prompt_tokens"] == [
        "1.0",
        "2.0",
        "5.0",
        "10.0",
        "20.0",
        "50.0",
        "100.0",
        "200.0",
        "+Inf",
    ]


def test_running_and_waiting_are_those_of_now(scripted: Any) -> None:
    engine = scripted("Hello")
    engine.hold.clear()
    settings = SETTINGS.model_copy(update={"concurrency": 2, "queue": 4})

    async def session() -> list[tuple[float, float]]:
        seen = []
        async with connect(application(engine, settings)) as client:
            asked = [asyncio.create_task(client.post(CHAT, json=ASK)) for _ in range(5)]
            for _ in range(2):
                while len(engine.requests) < 5:
                    await asyncio.sleep(0.01)
                samples = await scrape(client)
                names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
                seen.append((value(samples, names[0]), value(samples, names[1])))
                engine.hold.set()
                await asyncio.gather(*asked)
        return seen

    assert asyncio.run(session()) == [(2, 3), (0, 0)]


def test_a_client_that_hangs_up_is_an_abort(scripted: Any) -> None:
    engine = scripted("Hello")
    engine.hold.clear()

    async def session() -> Samples:
        app = application(engine)
        body = json.dumps(ASK).encode()
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        scope = {"type": "http", "method": "POST", "path": CHAT, "query_string": b"", "scheme": "http", "root_path": ""}
        given = [{"type": "http.disconnect"}, {"type": "http.request", "body": body}]
        sent: list[Any] = []

        async def receive() -> Any:
            while len(given) == 1 and not engine.requests:  # it hangs up once the engine has the request
                await asyncio.sleep(0.01)
            return given.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        await app({**scope, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}, receive, send)
        assert not sent
        async with connect(app) as client:
            return await scrape(client)

    samples = asyncio.run(session())
    assert value(samples, "vllm:request_success_total", finished_reason="abort") == 1
    assert value(samples, "vllm:e2e_request_latency_seconds_count") == 0


@pytest.mark.parametrize(("broken", "status"), [("engine", 503), ("else", 500)])
def test_an_engine_that_fails_is_an_error(scripted: Any, broken: str, status: int) -> None:
    engine = scripted("Hello")
    engine.broken = broken

    async def step(client: httpx.AsyncClient) -> Samples:
        assert (await client.post(CHAT, json=ASK)).status_code == status
        return await scrape(client)

    assert value(talk(engine, step), "vllm:request_success_total", finished_reason="error") == 1


class Upstream(FakeEngine):
    """Gives text and says what it counted, as the `url` engine does."""

    codec = None  # type: ignore[assignment]
    options = frozenset()

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        yield Chunk([], text="Hel")
        yield Chunk([], text="lo")
        yield Chunk([], "stop", usage=(7, 3))


def test_an_engine_that_gives_text_is_counted_by_what_it_says() -> None:
    async def step(client: httpx.AsyncClient) -> Samples:
        assert (await client.post(CHAT, json=ASK)).status_code == 200
        return await scrape(client)

    samples = talk(Upstream("tiny", 250), step)
    assert value(samples, "vllm:prompt_tokens_total") == 7
    assert value(samples, "vllm:generation_tokens_total") == 3
    assert value(samples, "vllm:request_generation_tokens_sum") == 3
    assert value(samples, "vllm:inter_token_latency_seconds_count") == 1
    assert value(samples, "vllm:request_time_per_output_token_seconds_count") == 1


def test_two_applications_in_one_process_count_apart() -> None:
    async def one(client: httpx.AsyncClient) -> Samples:
        await client.post(CHAT, json=ASK)
        return await scrape(client)

    settings = Serve(max_new_tokens=100, max_input_tokens=150)
    for _ in range(2):
        samples = talk(FakeEngine("tiny", 250), one, settings)
        assert value(samples, "vllm:e2e_request_latency_seconds_count") == 1


def test_a_meter_puts_gaps_where_prometheus_does() -> None:
    times = TokenTimes(tokens=10)
    for now in (5.0, 5.01, 5.035, 5.036, 95.0):
        times.record(now)
    assert times.first == 5.0
    assert times.per_token == pytest.approx(90 / 9)
    assert sum(times.gaps) == 4
    assert times.gaps[-1] == 1
    bound = TokenTimes(first=0.0, last=0.0)
    bound.record(GAPS[3])
    assert bound.gaps[3] == 1  # a bucket holds its bound
    assert TokenTimes().per_token is None
