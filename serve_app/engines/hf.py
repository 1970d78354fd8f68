"""The hf engine: transformers' continuous batching on the run's merged model, on CPU or GPU.

Output contract: greedy answers are those of `model.generate`; requests join and leave a running batch. The cache for
`concurrency` requests of full length is taken at the start and nothing more (left alone, transformers takes 60 % of
free memory on a CPU, 80 % on a GPU). More requests than that wait in the batch's queue, first come, first served.
This module does not render, detokenise or count.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import sys
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from pipeline.config import Project
from pipeline.run import Run
from serve_app.codec import HfCodec
from serve_app.engines import Chunk, EngineError, FinishReason, Generation, Logprob, Option, exported

PAGE = 256  # tokens per block of the cache: the default of every version, under names that differ
STEP_TOKENS = 1024  # tokens per forward pass: a longer prompt is read in several
GIL_TURN = 0.0001  # seconds, of 0.005: how long the event loop may keep the generation thread from its next operation
NARROW = 512  # hidden size: below, a product takes less time than another thread needs to wake up
GREEDY_BELOW = 1e-3  # temperatures: smaller ones are greedy but for rounding


class HfEngine:
    """Loads `model/merged` of a run and generates in a background thread. See `Engine`.

    Raises `MissingStageError` before `export`, and `IntegrityError` when the model's chat template is not the one that
    was exported.
    """

    def __init__(self, project: Project, run: Run) -> None:
        import torch

        from pipeline.train import model

        made = exported.find(project, run)
        sys.setswitchinterval(GIL_TURN)  # a step of a small model is hundreds of operations, and each asks for the GIL
        self._model, _ = model.load(str(made.folder), project, device=model.device())
        if model.device() == "cpu":
            torch.set_num_threads(_threads(self._model.config.get_text_config().hidden_size))
        self.codec, self.stop_ids, self.max_context = HfCodec(made.tokenizer), made.stop_ids, made.max_context
        self.model_id, self.created = project.name, made.created
        self._pad = made.tokenizer.pad_token_id
        self._batching = self._start(project.serve.concurrency)
        scoring: set[Option] = set() if self._score is None else {"logprobs", "penalties"}
        self.options: frozenset[Option] = frozenset({"seed", *scoring})

    def _start(self, concurrency: int) -> Any:
        from transformers import GenerationConfig
        from transformers.generation import ContinuousBatchingConfig

        from serve_app.engines import attend, draw

        # Temperature and top-p of 1 would mean "no such processor", for any request.
        sampling = GenerationConfig(
            do_sample=True,
            temperature=0.5,
            top_p=0.5,
            top_k=0,
            eos_token_id=sorted(self.stop_ids),
            pad_token_id=self._pad,
        )
        limits = ContinuousBatchingConfig(
            num_blocks=concurrency * (math.ceil(self.max_context / PAGE) + 1),
            max_batch_tokens=max(STEP_TOKENS, concurrency),
            max_requests_per_batch=concurrency,
            per_request_processors=True,
            safety_margin=0.0,  # the cache holds every admitted request whole: no reserve is needed
        )
        limits.auto_switch_to_flash = False  # it would fetch a kernel from the hub; 5.17 has no such setting
        batching = self._model.init_continuous_batching(sampling, limits)
        one_by_one = self._model.device.type == "cpu" and not getattr(limits, "use_async_batching", False)
        self._score = draw.install(batching, scoring=one_by_one)
        if self._model.device.type == "cpu":
            attend.install(self._model)
        batching.start()
        return batching

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        await self.check()
        name, outputs = uuid.uuid4().hex, asyncio.Queue[Any]()
        self._batching.register_result_handler(name, outputs.put_nowait)
        finished = False
        try:
            self._submit(name, request)
            seen = 0
            while not finished:
                output = await outputs.get()
                finished = output.is_finished()
                if output.error is not None:
                    raise EngineError("the batch failed")  # its own text may hold token ids
                new, before, seen = output.generated_tokens[seen:], seen, len(output.generated_tokens)
                ended: FinishReason = "stop" if new and new[-1] in self.stop_ids else "length"
                yield Chunk(new, ended if finished else None, self._scores(name, request, before, seen))
        finally:
            if self._score is not None:
                self._score.taken.pop(name, None)
            if not finished:
                self._forget(name)

    def _scores(self, name: str, request: Generation, start: int, end: int) -> list[Logprob] | None:
        if request.logprobs is None or self._score is None:
            return None
        return self._score.taken[name][start:end]

    def _submit(self, name: str, request: Generation) -> None:
        sampling: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0}  # without a seed: greedy
        if request.temperature >= GREEDY_BELOW:
            seed = secrets.randbits(63) if request.seed is None else request.seed
            sampling = {"temperature": request.temperature, "top_p": request.top_p, "seed": seed}
        if request.logprobs is not None:
            sampling["logprobs"] = request.logprobs
        if request.penalised:
            sampling["frequency_penalty"] = float(request.frequency_penalty)
            sampling["presence_penalty"] = float(request.presence_penalty)
        self._batching.add_request(
            request.prompt.ids,
            request_id=name,
            max_new_tokens=request.max_tokens,
            streaming=True,
            eos_token_id=sorted(self.stop_ids),
            **sampling,
        )

    def _forget(self, name: str) -> None:
        """Cancels a request. transformers tells nobody when it is gone, and would keep its handler for ever."""
        self._batching.cancel_request(name)
        self._batching.output_router.result_handlers.pop(name, None)
        while self._batching.get_result(timeout=0) is not None:  # tokens of cancelled requests
            pass

    async def check(self) -> None:
        if not self._batching.is_running():
            raise EngineError("the generation thread has ended")

    async def stop(self) -> None:
        await asyncio.to_thread(self._batching.stop, block=True, timeout=5, hard_stop=True)


def _threads(hidden_size: int) -> int:
    """Returns how many threads multiply matrices. Ray would give a replica as many as the cores it asked for."""
    return 1 if hidden_size < NARROW else len(os.sched_getaffinity(0))
