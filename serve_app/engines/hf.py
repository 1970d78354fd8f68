"""The hf engine: transformers' continuous batching on the run's merged model, on CPU or GPU.

Output contract: greedy answers are those of `model.generate`; requests join and leave a running batch. The cache for
`concurrency` requests of full length is taken at the start and nothing more (left alone, transformers takes 60 % of
free memory on a CPU, 80 % on a GPU). More requests than that wait in the batch's queue, first come, first served.
This module does not render, detokenise or count.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from pipeline.config import Project
from pipeline.errors import IntegrityError, MissingModelError
from pipeline.run import Run
from serve_app.engines import EngineError, Generation, TokenChunk

PAGE = 256  # tokens per block of the cache: the default of every version, under names that differ
STEP_TOKENS = 1024  # tokens per forward pass: a longer prompt is read in several
GREEDY_BELOW = 1e-3  # temperatures: smaller ones are greedy but for rounding


class HfEngine:
    """Loads `model/merged` of a run and generates in a background thread. See `Engine`.

    Raises `MissingStageError` before `export`, and `IntegrityError` when the model's chat template is not the one that
    was exported.
    """

    def __init__(self, project: Project, run: Run) -> None:
        from pipeline.train import merge, model, template

        run.require(merge.STAGE)
        merged = run.local(merge.MERGED)
        if not merged.is_dir():
            raise MissingModelError(f"{merged} is gone: run `jobs.export` again")
        self._model, self.tokenizer = model.load(str(merged), project, device=model.device())
        served = template.template_sha256(self.tokenizer)
        if served != run.read_json(merge.METRICS)["template_sha256"]:
            raise IntegrityError(
                f"the chat template of {merged} is not the one the model was trained with (SHA-256 {served[:16]}...): "
                "restore `chat_template` or run `jobs.export` again"
            )
        self.model_id = project.name
        self.created = int(merged.stat().st_mtime)
        self.stop_ids = frozenset(template.stop_ids(self.tokenizer, self._model))
        settings = project.serve
        self.max_context = min(model.positions(str(merged)), settings.max_input_tokens + settings.max_new_tokens)
        self._batching = self._start(settings.concurrency)

    def _start(self, concurrency: int) -> Any:
        from transformers import GenerationConfig
        from transformers.generation import ContinuousBatchingConfig

        from serve_app.engines import draw

        # Temperature and top-p of 1 would mean "no such processor", for any request.
        sampling = GenerationConfig(
            do_sample=True,
            temperature=0.5,
            top_p=0.5,
            top_k=0,
            eos_token_id=sorted(self.stop_ids),
            pad_token_id=self.tokenizer.pad_token_id,
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
        draw.install(batching)
        batching.start()
        return batching

    async def generate(self, request: Generation) -> AsyncGenerator[TokenChunk, None]:
        self.check()
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
                new, seen = output.generated_tokens[seen:], len(output.generated_tokens)
                ended = "stop" if new and new[-1] in self.stop_ids else "length"
                yield TokenChunk(new, ended if finished else None)  # type: ignore[arg-type]
        finally:
            if not finished:
                self._forget(name)

    def _submit(self, name: str, request: Generation) -> None:
        sampling: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0}  # without a seed: greedy
        if request.temperature >= GREEDY_BELOW:
            seed = secrets.randbits(63) if request.seed is None else request.seed
            sampling = {"temperature": request.temperature, "top_p": request.top_p, "seed": seed}
        self._batching.add_request(
            request.prompt_ids,
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

    def check(self) -> None:
        if not self._batching.is_running():
            raise EngineError("the generation thread has ended")

    def stop(self) -> None:
        self._batching.stop(block=True, timeout=5, hard_stop=True)
