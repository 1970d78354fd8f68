"""The vllm engine: vLLM's AsyncLLM in this replica, for production on a GPU. Written for vLLM 0.24.

Output contract: token ids in, token ids out; vLLM neither renders nor detokenises. Temperature, top-p, seed, penalties,
log-probabilities (of the model itself) and JSON schemas are vLLM's. Tokens that pile up behind a busy event loop come
in one chunk. Nothing is fetched from a network and no usage is reported to anybody.
This module is not `ray.serve.llm`, whose versions are tied to those of vLLM.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pipeline.config import Project
from pipeline.errors import MissingModelError
from pipeline.run import Run
from serve_app.engines import (
    TOP_LOGPROBS,
    Chunk,
    EngineError,
    FinishReason,
    Generation,
    Logprob,
    Option,
    RefusedError,
    exported,
)
from serve_app.engines.codec import HfCodec

STEP_TOKENS = 8192  # of a forward pass: vLLM's own choice for a service on a large card
INSTALL = "pip install 'vllm==0.24.*' (Linux with an NVIDIA GPU)"


class VllmEngine:
    """See `Engine`. Raises `MissingModelError` where vLLM is not installed, and what `exported.find` raises."""

    options: frozenset[Option] = frozenset({"seed", "logprobs", "penalties", "json"})

    def __init__(self, project: Project, run: Run) -> None:
        model = exported.find(project, run)
        self.model_id, self.created = project.name, model.created
        self.codec = HfCodec(model.tokenizer, model.embeddings)
        self.stop_ids, self.max_context = model.stop_ids, model.max_context
        self._engine = self._start(project, model)

    def _start(self, project: Project, model: exported.Exported) -> Any:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        try:
            from vllm.config import StructuredOutputsConfig
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise MissingModelError(f"serve.engine vllm needs the package vllm: {INSTALL}") from error
        folder = str(model.folder)
        options = AsyncEngineArgs(
            model=folder,
            tokenizer=folder,
            # left to its choice, vLLM lets a model fill its answer with spaces, and tries packages that may be missing
            structured_outputs_config=StructuredOutputsConfig(backend="guidance", disable_any_whitespace=True),
            **arguments(project, model.max_context),
        )
        return AsyncLLM.from_engine_args(options, usage_context=UsageContext.OPENAI_API_SERVER)

    def _sampling(self, request: Generation) -> Any:
        from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

        schema = request.schema
        return SamplingParams(
            **sampling(request, self.stop_ids),
            structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
            detokenize=False,
            # an event per token costs more than the token: 256 answers at once ran at 69 % of the speed
            output_kind=RequestOutputKind.FINAL_ONLY if request.whole else RequestOutputKind.DELTA,
        )

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`."""
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        prompt = {"type": "token", "prompt_token_ids": request.prompt.ids}  # `vllm.inputs.TokensInput`
        try:
            outputs = self._engine.generate(prompt, self._sampling(request), uuid.uuid4().hex)
            async with aclosing(outputs):
                async for output in outputs:
                    part = output.outputs[0]
                    scores = None if request.logprobs is None else _scores(part, request.logprobs)
                    yield Chunk(list(part.token_ids), finish(part.finish_reason), scores)
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineError(f"vLLM failed: {type(error).__name__}") from error
        except ValueError as error:
            raise refused(request) from error

    async def check(self) -> None:
        """See `Engine`."""
        if self._engine.errored:
            raise EngineError("vLLM's engine process has died")

    async def stop(self) -> None:
        """See `Engine`."""
        self._engine.shutdown()


def arguments(project: Project, max_context: int) -> dict[str, Any]:
    """Returns the arguments of vLLM's `AsyncEngineArgs` beside the model."""
    settings = project.serve
    return {
        "max_model_len": max_context,
        "max_num_seqs": settings.concurrency,
        "max_num_batched_tokens": max(STEP_TOKENS, settings.concurrency),
        "gpu_memory_utilization": settings.vllm.memory,
        "quantization": settings.vllm.quantization,
        "enable_prefix_caching": settings.vllm.prefix_cache,
        "enforce_eager": settings.vllm.eager,
        "stream_interval": settings.vllm.stream_tokens,
        "max_logprobs": TOP_LOGPROBS,
        "generation_config": "vllm",  # its neutral defaults: sampling is the request's alone
        "seed": project.seed,
        "disable_log_stats": True,
        "enable_log_requests": False,
    }


def sampling(request: Generation, stop_ids: frozenset[int]) -> dict[str, Any]:
    """Returns the sampling arguments that vLLM's engine and its completions protocol name alike."""
    return {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": max(request.top_p, 1e-6),  # vLLM refuses 0
        "seed": None if request.seed is None else request.seed % 2**63,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "logprobs": request.logprobs,
        "stop_token_ids": sorted(stop_ids),
    }


def refused(request: Generation) -> RefusedError:
    """Returns the error of a refused request, in words of ours: vLLM's may quote the schema."""
    param = None if request.schema is None else "response_format"
    return RefusedError("The engine does not take this request.", param)


def finish(reason: str | None) -> FinishReason | None:
    """Returns OpenAI's finish reason; raises `EngineError` for an aborted answer."""
    match reason:
        case None | "stop" | "length":
            return reason
        case "repetition":
            return "length"
    raise EngineError(f"vLLM ended a request with `{reason}`")


def _scores(part: Any, count: int) -> list[Logprob]:
    """Returns one entry per token from vLLM's dictionaries of the token itself and the `count` most probable."""
    scores = []
    for token, values in zip(part.token_ids, (part.logprobs or []) if part.token_ids else [], strict=True):
        ranked = sorted(values.items(), key=lambda item: item[1].rank or 0)
        top = tuple((other, float(one.logprob)) for other, one in ranked if (one.rank or 0) <= count)
        scores.append(Logprob(float(values[token].logprob), top))
    return scores
