"""The ray_llm engine under Ray's own `LLMServer`, in this process; vLLM is a stand-in (see `vllm_stand_in`).

The conformance checks run on it too. `tests/cluster/test_ray_llm.py` deploys it on Ray Serve.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from bench.exported import exported
from pipeline.config import ASSETS
from pipeline.errors import ConfigError, MissingModelError
from pipeline.run import Run
from serve_app.engines import EngineError, RefusedError
from serve_app.engines.load import load
from tests.serve_app import conformance, vllm_stand_in
from tests.serve_app.engines.test_conformance import project
from tests.serve_app.vllm_stand_in import StandIn

pytestmark = pytest.mark.filterwarnings(vllm_stand_in.RAY_FIELDS)
SETTINGS: dict[str, Any] = {"engine": "ray_llm", "vllm": {"memory": 0.5}, "stream_interval": 0.01}


@pytest.fixture(scope="module", autouse=True)
def root_level() -> Iterator[None]:
    """Importing `ray.serve.llm` has every logger write at INFO, which other tests would see."""
    root = logging.getLogger()
    before = root.level
    yield
    root.setLevel(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return exported(tmp_path_factory.mktemp("tiny"), ASSETS / "tiny-base")


@pytest.fixture(scope="module")
def run_on() -> Iterator[conformance.Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def handle(tiny: Run) -> Any:
    return vllm_stand_in.serving(project(**SETTINGS), tiny)


@pytest.fixture
def engine(tiny: Run, handle: Any) -> Any:
    StandIn.requests.clear()
    StandIn.broken = ""
    return load(project(**SETTINGS), tiny, handle)


def test_the_deployment_is_one_replica_with_the_card_and_the_settings_of_vllm(tiny: Run, handle: Any) -> None:
    from serve_app.engines.ray_llm import configuration

    made = configuration(project(**SETTINGS), tiny, gpu=True)
    given = made.get_engine_config().get_initialization_kwargs()
    assert given["model"] == str(tiny.local("model/merged"))
    assert (given["max_model_len"], given["max_num_seqs"], given["gpu_memory_utilization"]) == (250, 4, 0.5)
    assert made.accelerator_type is None
    assert made.experimental_configs == {"stream_batching_interval_ms": 10.0}
    assert made.deployment_config["autoscaling_config"] == {"min_replicas": 1, "max_replicas": 1}
    assert made.get_engine_config().placement_bundles == [{"GPU": 1}]
    assert configuration(project(**SETTINGS), tiny, gpu=False).get_engine_config().placement_bundles == [{"CPU": 1}]


@pytest.mark.parametrize(("kind", "card", "gateway"), [("ray_llm", 1, 0), ("ray_llm", 0, 0), ("vllm", 1, 1)])
def test_the_card_goes_to_the_model_and_one_core_to_the_gateway(
    tiny: Run, monkeypatch: pytest.MonkeyPatch, kind: str, card: int, gateway: int
) -> None:
    import ray

    from serve_app import app
    from serve_app.engines import ray_llm

    resources = {"CPU": 8.0, "GPU": float(card)}
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {**resources, app.HEAD: 1.0}}])
    monkeypatch.setattr(ray_llm, "deployment", lambda project, run, gpu: ("model", gpu))
    bound = app.build(project(**{**SETTINGS, "engine": kind}), tiny, tiny.local("keys.json"))._bound_deployment
    assert bound.ray_actor_options["num_gpus"] == gateway
    assert bound.ray_actor_options["num_cpus"] == 1
    assert bound.init_args[3:] == ((("model", bool(card)),) if kind == "ray_llm" else ())


def test_ids_go_in_and_come_out_whether_streamed_or_not(engine: Any, run_on: conformance.Run) -> None:
    request = conformance.ask(engine, seed=-4, temperature=0.7, top_p=0.0, logprobs=2)
    streamed = conformance.said(run_on(conformance.chunks_of(engine, request)))
    whole = run_on(conformance.chunks_of(engine, conformance.ask(engine, seed=-4, top_p=0.0, logprobs=2, whole=True)))
    assert len(whole) == 1
    assert conformance.said(whole) == streamed
    assert len(whole[0].logprobs) == len(streamed[0])
    first, second = StandIn.requests
    assert (first.stream, second.stream) == (True, False)
    assert first.prompt == request.prompt.ids
    assert first.seed == 2**63 - 4
    assert 0 < first.top_p < 1e-3  # vLLM refuses 0
    assert first.stop_token_ids == sorted(engine.stop_ids)
    assert (first.return_token_ids, first.return_tokens_as_token_ids) == (True, True)


def test_scores_are_the_token_s_and_the_most_probable() -> None:
    from serve_app.engines.ray_llm import _scores

    found = {
        "token_logprobs": [-3.0, -0.2],
        "top_logprobs": [
            {"token_id:9": -3.0, "token_id:4": -0.1, "token_id:5": -2.0},
            {"token_id:2": -0.2, "token_id:8": -1.0},
        ],
    }
    first, second = _scores([9, 2], found, 2)
    assert (first.value, first.top) == (-3.0, ((4, -0.1), (5, -2.0)))
    assert (second.value, second.top) == (-0.2, ((2, -0.2), (8, -1.0)))
    assert _scores([2], {"token_logprobs": [-0.2], "top_logprobs": [{"token_id:2": -0.2}]}, 0)[0].top == ()


def test_a_schema_is_handed_on_and_its_refusal_names_the_argument(engine: Any, run_on: conformance.Run) -> None:
    with pytest.raises(RefusedError) as caught:
        run_on(conformance.chunks_of(engine, conformance.ask(engine, schema={"type": "nonsense"})))
    assert caught.value.param == "response_format"
    assert "secret" not in str(caught.value)
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "nonsense"}}}
    assert StandIn.requests[0].response_format == wanted


def test_failures_are_the_engine_s_errors(engine: Any, run_on: conformance.Run) -> None:
    StandIn.broken = "secret"
    with pytest.raises(EngineError) as caught:
        run_on(conformance.chunks_of(engine, conformance.ask(engine)))
    assert type(caught.value) is EngineError
    assert "secret" not in str(caught.value)
    StandIn.broken = ""
    engine._folder = "/another/run"
    with pytest.raises(EngineError):
        run_on(conformance.chunks_of(engine, conformance.ask(engine)))


def test_a_client_that_leaves_ends_the_request_there(engine: Any, run_on: conformance.Run) -> None:
    async def leave() -> None:
        chunks = engine.generate(conformance.ask(engine, max_tokens=90))
        await anext(chunks)
        assert StandIn.running == 1
        await chunks.aclose()
        async with asyncio.timeout(5):
            while StandIn.running:
                await asyncio.sleep(0.01)

    run_on(leave())


def test_without_the_package_or_outside_the_service_it_is_a_sentence(
    tiny: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serve_app.engines import ray_llm

    monkeypatch.setitem(sys.modules, "ray.serve.llm", None)
    with pytest.raises(MissingModelError, match=r"pip install 'ray\[llm\]"):
        ray_llm.deployment(project(**SETTINGS), tiny, gpu=True)
    with pytest.raises(ConfigError, match="in the service only"):
        load(project(**SETTINGS), tiny)
