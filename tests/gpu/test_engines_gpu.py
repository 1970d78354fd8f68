"""hf and vLLM on a GPU: the conformance checks, and vLLM's greedy tokens equal to those of its own API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bench.exported import exported
from pipeline.config import ASSETS, Project
from tests.serve_app import conformance

pytestmark = [
    pytest.mark.gpu,
    # what torch warns about itself when vLLM imports its compiler
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]


@pytest.fixture(scope="module")
def run_on() -> Iterator[conformance.Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module", params=["hf", "vllm"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, run_on: conformance.Run
) -> Iterator[Any]:
    if request.param == "vllm":
        pytest.importorskip("vllm")
    from serve_app.engines.load import load

    run = exported(tmp_path_factory.mktemp("tiny"), ASSETS / "tiny-base")
    serve = {
        "engine": request.param,
        "max_new_tokens": 100,
        "max_input_tokens": 150,
        "vllm": {"memory": 0.3, "eager": True},
    }
    project = Project.model_validate({"name": "tiny", "base_model": "tiny-base", "serve": serve})

    async def start() -> Any:
        return load(project, run)

    made = run_on(start())
    yield made
    run_on(made.stop())


@pytest.mark.parametrize("check", [*conformance.CHECKS, conformance.repeats_itself], ids=lambda check: check.__name__)
def test_conformance(engine: Any, run_on: conformance.Run, check: Any) -> None:
    check(engine, run_on)


def test_greedy_is_what_vllm_s_own_api_gives(engine: Any, run_on: conformance.Run) -> None:
    if "json" not in engine.options:
        pytest.skip("not vLLM")
    from vllm.sampling_params import SamplingParams

    async def own(ids: list[int]) -> list[int]:
        sampling = SamplingParams(temperature=0, max_tokens=40, stop_token_ids=sorted(engine.stop_ids))
        outputs = [
            output async for output in engine._engine.generate({"prompt_token_ids": ids}, sampling, f"own-{len(ids)}")
        ]
        return list(outputs[-1].outputs[0].token_ids)

    for text in conformance.QUESTIONS:
        request = conformance.ask(engine, text, max_tokens=40)
        got, _ = conformance.said(run_on(conformance.chunks_of(engine, request)))
        assert got == run_on(own(request.prompt.ids))
