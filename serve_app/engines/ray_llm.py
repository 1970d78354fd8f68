"""The ray_llm engine: vLLM as a deployment of `ray.serve.llm`, in a replica of its own behind the gateway.

Output contract: token ids in, token ids out, as with `vllm`: requests follow vLLM's completions protocol with
`return_token_ids`; vLLM's text is not read. The deployment has no route: only the gateway's handle reaches it. Leaving
the iterator of `generate` cancels the request there. A model of another run than the gateway's refuses to answer
(vLLM's model name is the folder). Requests wait while the deployment starts anew.
Written for Ray 2.60, whose `ray[llm]` is tied to vLLM 0.29.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from pipeline.config import Project
from pipeline.errors import ConfigError, MissingModelError
from pipeline.run import Run
from serve_app.engines import Chunk, EngineError, Generation, Logprob, Option, exported
from serve_app.engines.codec import HfCodec
from serve_app.engines.vllm import arguments, finish, refused, sampling

INSTALL = "pip install 'ray[llm]==2.60.*' (Linux with an NVIDIA GPU)"
NAME = "Model"  # of the deployment
PREFIX = "token_id:"  # of a token's id in vLLM's log-probabilities
PATIENCE = 5.0  # seconds until a silent model counts as failed
QUIET = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


def deployment(project: Project, run: Run, gpu: bool) -> Any:
    """Returns the Serve application of the run's model, to be bound to the gateway: one replica, with one card.

    Raises `MissingModelError` where `ray[llm]` is not installed, and what `exported.find` raises.
    """
    try:
        from ray.serve.llm import build_llm_deployment
    except ImportError as error:
        raise MissingModelError(f"serve.engine ray_llm needs the packages of Ray's LLM service: {INSTALL}") from error
    return build_llm_deployment(configuration(project, run, gpu), override_serve_options={"name": NAME})


def configuration(project: Project, run: Run, gpu: bool) -> Any:
    """Returns the `LLMConfig`. Without a GPU the model gets a core, for a vLLM that is built for the CPU."""
    from ray.serve.llm import LLMConfig

    model, settings = exported.find(project, run), project.serve
    return LLMConfig(
        model_loading_config={"model_id": str(model.folder), "model_source": str(model.folder)},
        engine_kwargs=arguments(project, model.max_context),
        accelerator_type=None,
        accelerator_config={"kind": "gpu" if gpu else "cpu"},
        deployment_config={
            "autoscaling_config": {"min_replicas": 1, "max_replicas": 1},
            "graceful_shutdown_timeout_s": settings.drain,
            "ray_actor_options": {"num_cpus": int(gpu)},  # beside what the accelerator's bundle has
        },
        experimental_configs={"stream_batching_interval_ms": 1000 * settings.stream_interval},
        log_engine_metrics=False,
        runtime_env={"env_vars": QUIET},
    )


class RayLlmEngine:
    """See `Engine`. `handle` is that of the deployment; raises what `exported.find` raises."""

    options: frozenset[Option] = frozenset({"seed", "logprobs", "penalties", "json"})

    def __init__(self, project: Project, run: Run, handle: Any) -> None:
        if handle is None:
            raise ConfigError("serve.engine: `ray_llm` runs in the service only, as a deployment of Ray Serve")
        model = exported.find(project, run)
        self.model_id, self.created = project.name, model.created
        self.codec = HfCodec(model.tokenizer, model.embeddings)
        self.stop_ids, self.max_context = model.stop_ids, model.max_context
        self._folder, self._handle, self._stopped = str(model.folder), handle, False
        self._ask = handle.options(method_name="completions", stream=True)

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        response = self._ask.remote(self._request(request))
        try:
            async for item in response:
                for event in _events(item, request):
                    for choice in event["choices"]:
                        yield _chunk(choice, request)
                        if choice["finish_reason"] is not None:
                            return
        except (RayError, RayServeException) as error:
            raise EngineError(f"the model's deployment failed: {type(error).__name__}") from error
        finally:
            response.cancel()

    def _request(self, request: Generation) -> Any:
        from ray.serve.llm.openai_api_models import CompletionRequest

        schema = {"name": "answer", "schema": request.schema}
        return CompletionRequest(
            model=self._folder,
            prompt=request.prompt.ids,
            **sampling(request, self.stop_ids),
            response_format=None if request.schema is None else {"type": "json_schema", "json_schema": schema},
            stream=not request.whole,
            return_token_ids=True,
            return_tokens_as_token_ids=True,
        )

    async def check(self) -> None:
        """See `Engine`."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        if self._stopped:
            raise EngineError("the engine is stopped")
        try:
            async with asyncio.timeout(PATIENCE):
                await self._handle.options(method_name="check_health").remote()
        except (RayError, RayServeException, TimeoutError) as error:
            raise EngineError(f"the model's deployment is not well: {type(error).__name__}") from error

    async def stop(self) -> None:
        """Serve ends the deployment with the application."""
        self._stopped = True


def _events(item: Any, request: Generation) -> Iterator[dict[str, Any]]:
    """Yields the completions of an item of the deployment: a list of server-sent events, or one response.

    Raises `RefusedError` for a request that vLLM does not take, `EngineError` for any other failure.
    """
    for part in item if isinstance(item, list) else [item]:
        if isinstance(part, str):
            data = part.removeprefix("data:").strip()
            if data == "[DONE]":
                continue
            event = json.loads(data)
        else:
            event = part.model_dump()
        if "error" in event:
            if event["error"].get("code") == 400:
                raise refused(request)
            raise EngineError("vLLM failed in its answer")
        yield event


def _chunk(choice: dict[str, Any], request: Generation) -> Chunk:
    ids = choice.get("token_ids") or []
    scores = None if request.logprobs is None else _scores(ids, choice.get("logprobs"), request.logprobs)
    return Chunk(list(ids), finish(choice["finish_reason"]), scores)


def _scores(ids: list[int], logprobs: dict[str, Any] | None, count: int) -> list[Logprob]:
    """Returns one entry per token. vLLM gives the token itself and the `count` most probable, which often hold it."""
    if not ids or logprobs is None:
        return []
    scores = []
    for token, value, top in zip(ids, logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True):
        values = {int(name.removeprefix(PREFIX)): float(one) for name, one in top.items()}
        if len(values) > count:
            del values[token]
        ranked = sorted(values.items(), key=lambda pair: pair[1], reverse=True)
        scores.append(Logprob(float(value), tuple(ranked)))
    return scores
