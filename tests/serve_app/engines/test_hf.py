"""The hf engine: greedy as `model.generate`, draws by seed, batches, cancels; refuses another template."""

from __future__ import annotations

import asyncio
import multiprocessing
import queue
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import uvloop

from pipeline.errors import ConfigError, IntegrityError, MissingStageError
from pipeline.generation import batching
from pipeline.generation.batching import BatchError, Request, Tokens
from pipeline.models.generate import complete
from pipeline.models.load import Base
from pipeline.models.template import chat_prompt
from pipeline.run import Run
from serve_app.engines import EngineError, Generation, Prompt, hf_process
from serve_app.engines.hf import HfEngine
from serve_app.engines.hf_process import Model, start
from tests.train import tiny_models

QUESTIONS = ["How do I block my card?", "Open an account, please.", "x", "How " * 300]


@pytest.fixture(scope="module")
def engine(exported: Run, module_project: Any) -> Iterator[HfEngine]:
    made = HfEngine(module_project, exported)
    yield made
    asyncio.run(made.stop())


def prompt(engine: HfEngine, text: str) -> Prompt:
    return Prompt(chat_prompt(engine.codec.tokenizer, [{"role": "user", "content": text}]))


async def answer(engine: HfEngine, request: Generation) -> tuple[list[int], str | None]:
    ids: list[int] = []
    reason: str | None = None
    async with aclosing(engine.generate(request)) as chunks:
        async for chunk in chunks:
            assert reason is None
            ids += chunk.token_ids
            reason = chunk.finish_reason
    return ids, reason


def answers(engine: HfEngine, *requests: Generation) -> list[tuple[list[int], str | None]]:
    async def all_at_once() -> list[tuple[list[int], str | None]]:
        return await asyncio.gather(*[answer(engine, request) for request in requests])

    return asyncio.run(all_at_once())


def busy(engine: HfEngine) -> float:
    """Returns which share of a second the engine's process computes."""
    process = psutil.Process(engine._process.pid)
    before = process.cpu_times()
    time.sleep(1.0)
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system)


def generated(exported: Run, ids: list[int], count: int) -> list[int]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(exported.local("model/merged"), dtype=torch.float32).eval()
    with torch.inference_mode():
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=count, do_sample=False, pad_token_id=0, eos_token_id=[2, 6]
        )
    return list(out[0, len(ids) :].tolist())


def test_greedy_answers_in_a_batch_are_those_of_generate(engine: HfEngine, exported: Run) -> None:
    prompts = [prompt(engine, text) for text in QUESTIONS]
    requests = [Generation(ids, max_tokens=25, temperature=0) for ids in prompts] * 2
    for (got, reason), request in zip(answers(engine, *requests), requests, strict=True):
        assert got == generated(exported, request.prompt.ids, 25)
        assert reason == ("stop" if got[-1] in engine.stop_ids else "length")


def test_evaluation_gives_the_very_tokens_of_the_service(
    engine: HfEngine, exported: Run, module_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = Base.of(module_project, str(exported.local("model/merged"))).load()
    model.generation_config.update(repetition_penalty=3.0, min_new_tokens=20, no_repeat_ngram_size=2)  # served without
    requests = [Generation(prompt(engine, text), max_tokens=30, temperature=0) for text in QUESTIONS]
    served = [ids for ids, _ in answers(engine, *requests)]
    decoded: list[list[int]] = []
    monkeypatch.setattr(tokenizer, "decode", lambda ids, **_: decoded.append(list(ids)) or str(len(decoded) - 1))
    texts, ended = complete(model, tokenizer, QUESTIONS, 30)
    assert [decoded[int(text)] for text in texts] == [
        ids[:-1] if end else ids for ids, end in zip(served, ended, strict=True)
    ]


def test_a_stop_token_ends_the_answer_and_belongs_to_it(engine: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Generation(prompt(engine, QUESTIONS[0]), max_tokens=10, temperature=0)
    whole, _ = answers(engine, request)[0]
    monkeypatch.setattr(engine, "stop_ids", frozenset({whole[4], 399}))
    assert answers(engine, request)[0] == (whole[: whole.index(whole[4]) + 1], "stop")


def test_a_seed_draws_the_same_alone_and_in_company(engine: HfEngine) -> None:
    ids = prompt(engine, QUESTIONS[0])
    seeded = Generation(ids, max_tokens=20, temperature=0.9, top_p=0.9, seed=5)
    alone = answers(engine, seeded)[0]
    others = [Generation(ids, max_tokens=20, temperature=t, seed=s) for t, s in ((0.0, 1), (1.0, 6), (1.5, None))]
    together = answers(engine, *others, seeded)
    assert together[3] == alone
    assert len({tuple(got) for got, _ in together}) == 4


def test_unseeded_draws_differ(engine: HfEngine) -> None:
    ids = prompt(engine, QUESTIONS[0])
    got = answers(engine, *[Generation(ids, max_tokens=20, temperature=2.0) for _ in range(4)])
    assert len({tuple(ids) for ids, _ in got}) == 4


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 0.0), (1e-30, 1.0), (0.001, 1.0)])
def test_a_tiny_temperature_or_top_p_is_greedy(engine: HfEngine, temperature: float, top_p: float) -> None:
    ids = prompt(engine, QUESTIONS[0])
    greedy, narrow = answers(
        engine,
        Generation(ids, max_tokens=20, temperature=0),
        Generation(ids, max_tokens=20, temperature=temperature, top_p=top_p, seed=1),
    )
    assert greedy == narrow


def test_closing_early_cancels_and_leaves_nothing(engine: HfEngine) -> None:
    ids = prompt(engine, QUESTIONS[0])

    async def hang_up() -> None:
        for _ in range(6):  # more than run at once
            async with aclosing(engine.generate(Generation(ids, max_tokens=2000, temperature=2.0))) as chunks:
                await anext(chunks)

    asyncio.run(hang_up())
    assert len(answers(engine, Generation(ids, max_tokens=3, temperature=0))[0][0]) <= 3
    assert not engine._open
    assert busy(engine) < 0.1


def test_a_batch_keeps_nothing_of_what_is_over_or_forgotten(exported: Run, module_project: Any) -> None:
    came: queue.Queue[Tokens] = queue.Queue()
    shape = Model(exported.local("model/merged"), module_project.serve.concurrency, 400, [399], 0)
    batch = start(shape, lambda step: [came.put(tokens) for tokens in step] and None)
    try:
        batch.add(Request("long", [5, 6], 300, [399], settings={"logprobs": 2}))
        first = came.get(timeout=30)
        assert len(first.token_ids) == len(first.logprobs or []) == 1
        batch.cancel("long")
        batch.add(Request("whole", [7, 8], 9, [399], streaming=False, settings={"logprobs": 0}))
        last = first
        while last.name != "whole":
            last = came.get(timeout=30)
        assert last.finished
        assert not last.failed
        assert len(last.token_ids) == len(last.logprobs or []) == 9
        assert not batch._sent
        assert batch._score is not None
        assert not batch._score.logprobs
        assert not batch._manager.batch_processor.scheduler.active_requests
    finally:
        batch.stop()


def test_an_unknown_version_samples_and_attends_as_transformers_does(
    engine: HfEngine,
    exported: Run,
    module_project: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(batching, "version", lambda package: "6.0.0")
    came: queue.Queue[Tokens] = queue.Queue()
    shape = Model(exported.local("model/merged"), module_project.serve.concurrency, 400, [2, 6], 0)
    batch = start(shape, lambda step: [came.put(tokens) for tokens in step] and None)
    try:
        assert batch.options == frozenset()
        assert "transformers 6.0.0 is not known here, 5.17 to 5.23 are" in caplog.text
        monkeypatch.setattr(engine, "options", batch.options)
        ids = prompt(engine, QUESTIONS[0])
        for temperature in (0.0, 1.5):
            wanted = Generation(ids, max_tokens=20, temperature=temperature, whole=True)
            batch.add(engine._request(str(temperature), wanted))
        answers = {tokens.name: tokens for tokens in (came.get(timeout=60) for _ in range(2))}
        assert answers["0.0"].token_ids == generated(exported, ids.ids, 20)
        assert answers["1.5"].token_ids != answers["0.0"].token_ids
        assert not any(tokens.failed for tokens in answers.values())
    finally:
        batch.stop()


def test_a_model_that_an_unknown_version_does_not_load_names_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(shape: Model, send: Any) -> Any:
        raise AttributeError("no output_router")

    monkeypatch.setattr(batching, "version", lambda package: "6.0.0")
    monkeypatch.setattr(hf_process, "start", broken)
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        ours.send(None)
        hf_process.serve(theirs)
        error = ours.recv()
    assert isinstance(error, EngineError)
    assert str(error).endswith("no output_router (transformers 6.0.0 is not known here, 5.17 to 5.23 are)")


def test_open_requests_fail_when_the_process_dies(exported: Run, module_project: Any) -> None:
    dying = HfEngine(module_project, exported)

    async def kill() -> None:
        async with aclosing(dying.generate(Generation(Prompt([5]), max_tokens=300, temperature=2.0))) as chunks:
            await anext(chunks)
            dying._process.kill()
            async for _ in chunks:
                pass

    with pytest.raises(EngineError, match="process has ended"):
        asyncio.run(kill())
    with pytest.raises(EngineError, match="process has ended"):
        asyncio.run(dying.check())
    asyncio.run(dying.stop())


def test_the_process_ends_with_the_one_that_started_it(exported: Run, module_project: Any, tmp_path: Path) -> None:
    settings = tmp_path / "project.json"
    settings.write_text(module_project.model_dump_json())
    program = (
        "import sys, time; from pathlib import Path; from pipeline.config import Project; from pipeline.run import Run;"
        "from serve_app.engines.hf import HfEngine;"
        "made = HfEngine(Project.model_validate_json(Path(sys.argv[1]).read_text()), Run.open(sys.argv[2]));"
        "print(made._process.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(settings), str(exported.local("."))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        child.send_signal(signal.SIGTERM)  # sent to all when a service ends: answers go on
        time.sleep(0.5)
        assert child.status() != psutil.STATUS_ZOMBIE
        parent.kill()
    gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone == [child]


def test_a_model_that_cannot_be_loaded_is_an_error(exported: Run, module_project: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(exported.local("."), run)
    for file in (run / "model" / "merged").glob("*.safetensors"):
        file.write_bytes(b"nonsense")
    with pytest.raises(EngineError, match="did not load: SafetensorError"):
        HfEngine(module_project, Run.open(str(run)))


def test_a_cache_that_does_not_fit_is_an_error(exported: Run, module_project: Any) -> None:
    serve = module_project.serve.model_copy(update={"concurrency": 10**9})
    with pytest.raises(BatchError, match="did not start"):
        HfEngine(module_project.model_copy(update={"serve": serve}), exported)


def test_messages_larger_than_the_pipe_under_ray_s_event_loop(exported: Run, module_project: Any) -> None:
    serve = module_project.serve.model_copy(update={"max_input_tokens": 120_000, "max_new_tokens": 400})
    made = HfEngine(module_project.model_copy(update={"serve": serve}), exported)
    whole = Generation(prompt(made, QUESTIONS[0]), max_tokens=400, temperature=2.0, seed=1, logprobs=20, whole=True)
    long = Generation(Prompt([300] * 120_000), max_tokens=1)  # 360 kB: more than the pipe holds

    async def all_at_once() -> None:
        waiting = [asyncio.create_task(answer(made, request)) for request in (whole, whole, *[long] * 4)]
        done = await asyncio.gather(*waiting[:2])
        assert [len(ids) for ids, _ in done] == [400, 400]
        for task in waiting[2:]:
            task.cancel()
        await asyncio.gather(*waiting[2:], return_exceptions=True)
        await made.check()
        await made.stop()

    uvloop.run(all_at_once())


def test_a_changed_template_is_refused(exported: Run, module_project: Any, tmp_path: Path) -> None:
    template = tmp_path / "other.jinja"
    template.write_text("{% for m in messages %}[{{ m['content'] }}]</s>{% endfor %}")
    with pytest.raises(IntegrityError, match="chat template"):
        HfEngine(module_project.model_copy(update={"chat_template": str(template)}), exported)


def test_a_run_without_export_is_refused(module_project: Any, tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    with pytest.raises(MissingStageError, match=r"jobs\.export"):
        HfEngine(module_project, Run.open(str(tmp_path)))


def test_an_engine_that_has_ended_says_so(exported: Run, module_project: Any) -> None:
    ended = HfEngine(module_project, exported)
    asyncio.run(ended.check())
    asyncio.run(ended.stop())
    with pytest.raises(EngineError):
        asyncio.run(ended.check())
    with pytest.raises(EngineError):
        answers(ended, Generation(Prompt([1]), max_tokens=1))


@pytest.mark.parametrize("name", ["qwen3_5", "gemma4", "gemma4 unified"])
def test_a_model_whose_layers_need_caches_of_several_kinds_is_one_sentence(tmp_path: Path, name: str) -> None:
    folder = tiny_models.save(name, tmp_path / "model")
    with pytest.raises(ConfigError, match=r"^serve\.engine: hf has one kind of cache for all layers"):
        start(Model(folder, 2, 64, [2], 0), print)
