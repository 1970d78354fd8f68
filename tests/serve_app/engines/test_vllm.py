"""The vllm engine against a stand-in with vLLM 0.24's names: what it is started with, asked for, and gives back.

vLLM itself needs a GPU: `tests/gpu/test_engines_gpu.py` runs the conformance checks on it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import MissingModelError
from pipeline.run import Run
from serve_app.engines import EngineError, Generation, Prompt, RefusedError
from serve_app.engines.load import load
from tests.serve_app.conformance import chunks_of
from tests.serve_app.conftest import make_project


class Engine:
    """Stands in for `AsyncLLM`: says what it is told; `outputs` are (ids, reason, logprobs)."""

    def __init__(self, arguments: Any, usage_context: str) -> None:
        self.arguments, self.usage_context = arguments, usage_context
        self.outputs: list[Any] = []
        self.asked: list[Any] = []
        self.closed = 0
        self.errored = False

    async def generate(self, prompt: Any, sampling: Any, request_id: str) -> AsyncGenerator[Any, None]:
        self.asked.append((prompt, sampling, request_id))
        try:
            for made in self.outputs:
                if isinstance(made, Exception):
                    raise made
                ids, reason, scores = made
                choice = SimpleNamespace(token_ids=ids, finish_reason=reason, logprobs=scores)
                yield SimpleNamespace(outputs=[choice])
        finally:
            self.closed += 1

    def shutdown(self) -> None:
        self.errored = True


class DeadError(Exception): ...


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    contents: dict[str, dict[str, Any]] = {
        "vllm": {},
        "vllm.config": {"StructuredOutputsConfig": lambda **given: SimpleNamespace(**given)},
        "vllm.engine": {},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": lambda **given: SimpleNamespace(**given)},
        "vllm.usage": {},
        "vllm.usage.usage_lib": {"UsageContext": SimpleNamespace(OPENAI_API_SERVER="api")},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": SimpleNamespace(from_engine_args=Engine)},
        "vllm.v1.engine.exceptions": {
            "EngineDeadError": DeadError,
            "EngineGenerateError": type("Gen", (Exception,), {}),
        },
        "vllm.sampling_params": {
            "SamplingParams": lambda **given: SimpleNamespace(**given),
            "StructuredOutputsParams": lambda **given: SimpleNamespace(**given),
            "RequestOutputKind": SimpleNamespace(DELTA="delta", FINAL_ONLY="final"),
        },
    }
    for name, members in contents.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


def ask(engine: Any, **settings: Any) -> Any:
    return asyncio.run(chunks_of(engine, Generation(Prompt([5, 6, 7]), 20, **settings)))


@pytest.fixture
def engine(vllm: None, exported: Run) -> Any:
    settings = {"engine": "vllm", "concurrency": 64, "max_new_tokens": 50, "max_input_tokens": 100}
    return load(make_project(**settings, vllm={"memory": 0.5}), exported)


def test_it_starts_on_the_exported_model_within_the_limits(engine: Any, exported: Run) -> None:
    started = engine._engine.arguments
    assert started.model == started.tokenizer == str(exported.local("model/merged"))
    assert (started.max_model_len, started.max_num_seqs, started.max_num_batched_tokens) == (150, 64, 8192)
    assert started.gpu_memory_utilization == 0.5
    assert not started.enable_log_requests
    assert started.structured_outputs_config.disable_any_whitespace
    assert engine._engine.usage_context == "api"


def test_options_become_sampling_parameters(engine: Any) -> None:
    engine._engine.outputs = [([9], "length", None)]
    ask(engine, temperature=0.3, top_p=0.0, seed=-4, presence_penalty=1.0, schema={"type": "object"})
    prompt, sampling, _ = engine._engine.asked[0]
    assert prompt == {"type": "token", "prompt_token_ids": [5, 6, 7]}
    assert (sampling.temperature, sampling.max_tokens, sampling.presence_penalty) == (0.3, 20, 1.0)
    assert 0 < sampling.top_p < 1e-3  # vLLM refuses 0
    assert sampling.seed == 2**63 - 4
    assert sampling.structured_outputs.json == {"type": "object"}
    assert (sampling.detokenize, sampling.output_kind, sampling.logprobs) == (False, "delta", None)
    assert sampling.stop_token_ids == sorted(engine.stop_ids)


def test_an_answer_that_nobody_watches_comes_in_one_piece(engine: Any) -> None:
    engine._engine.outputs = [((9, 4, 2), "stop", None)]
    (chunk,) = ask(engine, whole=True)
    assert (chunk.token_ids, chunk.finish_reason) == ([9, 4, 2], "stop")
    assert engine._engine.asked[0][1].output_kind == "final"


def test_tokens_and_scores_come_back(engine: Any) -> None:
    def entry(value: float, rank: int) -> Any:
        return SimpleNamespace(logprob=value, rank=rank)

    first = {9: entry(-3.0, 7), 4: entry(-0.1, 1), 5: entry(-2.0, 2)}
    second = {2: entry(-0.2, 1), 8: entry(-1.0, 2)}
    engine._engine.outputs = [((9,), None, [first]), ((2,), "stop", [second])]
    chunks = ask(engine, logprobs=2)
    assert [(chunk.token_ids, chunk.finish_reason) for chunk in chunks] == [([9], None), ([2], "stop")]
    assert chunks[0].logprobs[0].value == -3.0
    assert chunks[0].logprobs[0].top == ((4, -0.1), (5, -2.0))
    assert chunks[1].logprobs[0].top == ((2, -0.2), (8, -1.0))
    assert engine._engine.closed == 1


@pytest.mark.parametrize(
    ("failure", "kind", "schema"),
    [
        (DeadError("secret"), EngineError, None),
        (ValueError("secret"), RefusedError, {"type": "nonsense"}),
        (([1], "abort", None), EngineError, None),
        (([1], "error", None), EngineError, None),
    ],
)
def test_failures_are_the_engine_s_errors_without_vllm_s_words(
    engine: Any, failure: Any, kind: type[EngineError], schema: Any
) -> None:
    engine._engine.outputs = [failure]
    with pytest.raises(kind) as caught:
        ask(engine, schema=schema)
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)
    if schema is not None:
        assert caught.value.param == "response_format"  # type: ignore[attr-defined]


def test_a_dead_engine_is_not_healthy(engine: Any) -> None:
    asyncio.run(engine.check())
    asyncio.run(engine.stop())
    with pytest.raises(EngineError):
        asyncio.run(engine.check())


@pytest.mark.parametrize(("kind", "package"), [("vllm", "vllm"), ("gguf", "xllamacpp")])
def test_a_package_that_is_missing_is_a_sentence(
    exported: Run, monkeypatch: pytest.MonkeyPatch, kind: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if kind == "gguf":
        exported.local("model/gguf").mkdir(exist_ok=True)
        exported.local("model/gguf/a.gguf").write_bytes(b"")
    with pytest.raises(MissingModelError, match="pip install"):
        load(make_project(engine=kind), exported)


def test_gguf_files_are_found_or_asked_for(exported: Run) -> None:
    from serve_app.engines.gguf import _file

    folder = exported.local("model/gguf")
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(MissingModelError, match="no GGUF"):
        _file(exported, None)
    (folder / "a.gguf").write_bytes(b"")
    assert _file(exported, None) == folder / "a.gguf"
    (folder / "b.gguf").write_bytes(b"")
    assert _file(exported, "b.gguf") == folder / "b.gguf"
    for name in (None, "c.gguf", "../merged/config.json", "/etc/passwd"):
        with pytest.raises(MissingModelError):
            _file(exported, name)
