"""Every engine that this machine can run passes the same checks; each also gives just what its own API gives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bench.exported import exported
from pipeline.config import ASSETS, Project
from pipeline.run import Run
from serve_app.engines import Engine
from serve_app.engines.fake import FakeEngine
from serve_app.engines.load import load
from tests.serve_app import conformance, vllm_stand_in
from tests.serve_app.client import KEY, SETTINGS, application
from tests.serve_app.upstream import serving

pytestmark = pytest.mark.filterwarnings(vllm_stand_in.RAY_FIELDS)

SERVE: dict[str, Any] = {"concurrency": 4, "queue": 4, "max_new_tokens": 100, "max_input_tokens": 150}


@pytest.fixture(scope="module")
def run_on() -> Iterator[conformance.Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run folder whose exported model is the bundled one."""
    return exported(tmp_path_factory.mktemp("tiny"), ASSETS / "tiny-base")


def project(**serve: Any) -> Project:
    return Project.model_validate({"name": "tiny", "base_model": "tiny-base", "serve": {**SERVE, **serve}})


def write_gguf(run: Run) -> None:
    pytest.importorskip("xllamacpp")
    from transformers import AutoTokenizer

    from pipeline.export.gguf_convert import convert

    file = run.local("model/gguf/tiny-f16.gguf")
    if not file.exists():
        file.parent.mkdir()
        tokenizer = AutoTokenizer.from_pretrained(ASSETS / "tiny-base")
        convert(ASSETS / "tiny-base", file, tokenizer, "tiny", tokenizer.chat_template)


@pytest.fixture(
    scope="module", params=["fake", "hf", "url", "gguf", pytest.param("ray_llm", marks=pytest.mark.cluster)]
)
def engine(request: pytest.FixtureRequest, tiny: Run, run_on: conformance.Run) -> Iterator[Engine]:
    match request.param:
        case "url":
            upstream = FakeEngine("upstream", 250, interval=0.001)
            roomy = SETTINGS.model_copy(update={"queue": 100})  # it takes a moment to see that a client is gone
            with serving(application(upstream, roomy)) as base:
                key = tiny.local("upstream_key")
                key.write_text(KEY)
                url = {"base_url": f"{base}/v1", "model": "upstream", "key_file": str(key)}
                made = load(project(engine="url", url=url), tiny)
                yield made
                run_on(made.stop())
            return
        case "ray_llm":
            settings = project(engine="ray_llm")
            made = load(settings, tiny, vllm_stand_in.serving(settings, tiny))
            made.options -= {"json"}  # the stand-in does not offer it
        case "gguf":
            write_gguf(tiny)
            made = load(project(engine="gguf", gguf={"threads": 1}), tiny)
        case kind:
            made = load(project(engine=kind), tiny)
    yield made
    run_on(made.stop())
    with pytest.raises(Exception, match=r"stopped|ended"):
        run_on(made.check())
    assert vllm_stand_in.StandIn.running == 0


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_conformance(engine: Engine, run_on: conformance.Run, check: Any) -> None:
    check(engine, run_on)


@pytest.mark.parametrize("check", conformance.EXACT, ids=lambda check: check.__name__)
def test_answers_do_not_depend_on_company(engine: Engine, run_on: conformance.Run, check: Any) -> None:
    if engine.__class__.__name__ == "GgufEngine":
        check = conformance.repeats_itself  # llama.cpp computes in 16 bits, and differently for every size of batch
    check(engine, run_on)


def test_greedy_is_what_llama_cpp_s_own_api_gives(engine: Engine, run_on: conformance.Run) -> None:
    if not (server := getattr(engine, "_server", None)):
        pytest.skip("not llama.cpp")
    for text in conformance.QUESTIONS:
        request = conformance.ask(engine, text, max_tokens=40)
        got, _ = conformance.said(run_on(conformance.chunks_of(engine, request)))
        asked = {"prompt": request.prompt.ids, "max_tokens": 40, "temperature": 0, "logprobs": 1, "cache_prompt": False}
        own = server.handle_completions(asked)["choices"][0]
        assert engine.codec is not None
        assert engine.codec.decode(got) == own["text"]
        assert got[: len(own["logprobs"]["content"])] == [one["id"] for one in own["logprobs"]["content"]]


def test_greedy_is_what_generate_gives(engine: Engine, run_on: conformance.Run) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    if engine.__class__.__name__ != "HfEngine":
        pytest.skip("not transformers")
    model = AutoModelForCausalLM.from_pretrained(ASSETS / "tiny-base", dtype=torch.float32).eval()
    for text in conformance.QUESTIONS:
        request = conformance.ask(engine, text, max_tokens=40, logprobs=0)
        chunks = run_on(conformance.chunks_of(engine, request))
        got, _ = conformance.said(chunks)
        ids = torch.tensor([request.prompt.ids])
        with torch.inference_mode():
            out = model.generate(ids, max_new_tokens=40, do_sample=False, eos_token_id=sorted(engine.stop_ids))[0]
            logits = model(out.unsqueeze(0)).logits[0].log_softmax(-1)
        assert got == out[len(request.prompt.ids) :].tolist()
        at = len(request.prompt.ids) - 1
        expected = [float(logits[at + step, token]) for step, token in enumerate(got)]
        scores = [score.value for chunk in chunks for score in chunk.logprobs or []]
        assert scores == pytest.approx(expected, abs=1e-4)
