"""What `ray.serve.llm` imports of vLLM 0.29, and an engine to put under its server, where there is no vLLM.

The request has those fields of vLLM's `CompletionRequest` that the `ray_llm` engine may use, and refuses any other. The
engine answers as vLLM's `OpenAIServingCompletion` does (what it writes was read in vLLM 0.29): tokens are those of the
`hf` engine on the same folder.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, create_model

from pipeline.config import Project
from pipeline.run import Run
from serve_app.engines import Chunk, Generation, Prompt, RefusedError

# Ray 2.60 declares a field of its settings the way of pydantic 1
RAY_FIELDS = "ignore:Using extra keyword arguments on .Field.:DeprecationWarning:ray.serve._private.config"


class Protocol(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CompletionRequest(Protocol):
    model: str
    prompt: list[int]
    max_tokens: int = 16
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    stop_token_ids: list[int] | None = []
    stream: bool = False
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    request_id: str = "random"


class LogProbs(Protocol):
    text_offset: list[int] = []
    token_logprobs: list[float | None] = []
    tokens: list[str] = []
    top_logprobs: list[dict[str, float] | None] = []


class Choice(Protocol):
    index: int = 0
    text: str = ""
    logprobs: LogProbs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    prompt_token_ids: list[int] | None = None
    token_ids: list[int] | None = None


class Completion(Protocol):
    """A response, or an event of a stream."""

    id: str = "cmpl-1"
    object: str = "text_completion"
    model: str
    choices: list[Choice]
    usage: dict[str, int] | None = None


class ErrorInfo(Protocol):
    message: str
    type: str
    param: str | None = None
    code: int


class ErrorResponse(Protocol):
    error: ErrorInfo


@dataclasses.dataclass
class AsyncEngineArgs:
    """Those of vLLM's arguments that are used."""

    model: str = ""
    max_model_len: int = 0
    max_num_seqs: int = 0
    max_num_batched_tokens: int = 0
    gpu_memory_utilization: float = 0.9
    quantization: str | None = None
    enable_prefix_caching: bool = True
    enforce_eager: bool = False
    stream_interval: int = 1
    max_logprobs: int = 20
    generation_config: str = "auto"
    seed: int = 0
    disable_log_stats: bool = False
    enable_log_requests: bool = False


@dataclasses.dataclass
class FrontendArgs:
    host: str | None = None


def modules() -> dict[str, dict[str, Any]]:
    completion = {
        "CompletionRequest": CompletionRequest,
        "CompletionResponse": Completion,
        "CompletionStreamResponse": Completion,
    }
    others = {
        "openai.chat_completion": [
            "ChatCompletionRequest",
            "ChatCompletionResponse",
            "ChatCompletionStreamResponse",
        ],
        "pooling.embed": ["EmbeddingChatRequest", "EmbeddingCompletionRequest", "EmbeddingResponse"],
        "pooling.scoring": ["ScoreResponse", "ScoreTextRequest"],
        "serve.tokenize": [
            "DetokenizeRequest",
            "DetokenizeResponse",
            "TokenizeChatRequest",
            "TokenizeCompletionRequest",
            "TokenizeResponse",
        ],
        "speech_to_text.transcription": [
            "TranscriptionRequest",
            "TranscriptionResponse",
            "TranscriptionStreamResponse",
        ],
    }
    return {
        "vllm.entrypoints.openai.completion.protocol": completion,
        "vllm.entrypoints.serve.engine.protocol": {"ErrorInfo": ErrorInfo, "ErrorResponse": ErrorResponse},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": AsyncEngineArgs},
        "vllm.entrypoints.launchers.cli_args": {"FrontendArgs": FrontendArgs},
    } | {
        f"vllm.entrypoints.{place}.protocol": {name: create_model(name, __base__=Protocol) for name in names}
        for place, names in others.items()
    }


def install() -> None:
    """Makes `import vllm...` find the stand-ins, in this process."""
    for path, members in modules().items():
        parts = path.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            module = sys.modules.setdefault(name, ModuleType(name))
            module.__path__ = []
        vars(sys.modules[path]).update(members)


class StandIn:
    """What `LLMServer` runs in vLLM's place (`RAYLLM_VLLM_ENGINE_CLS`); `running` counts requests."""

    running = 0
    requests: ClassVar[list[CompletionRequest]] = []
    broken = ""

    def __init__(self, llm_config: Any) -> None:
        self.config = llm_config

    async def start(self) -> None:
        from serve_app.engines.hf import HfEngine

        given = self.config.get_engine_config().get_initialization_kwargs()
        serve = {"max_new_tokens": 100, "max_input_tokens": given["max_model_len"] - 100}
        serve |= {"concurrency": given["max_num_seqs"]}
        project = Project.model_validate({"name": "m", "base_model": "tiny-base", "serve": serve})
        self.model = HfEngine(project, Run.open(str(Path(given["model"]).parents[1]), make=False))

    def routing_stats(self) -> dict[str, Any]:
        return {}

    async def check_health(self) -> None:
        await self.model.check()

    async def shutdown(self) -> None:
        await self.model.stop()

    async def completions(self, request: Any, raw_request_info: Any = None) -> AsyncGenerator[Any, None]:
        cls = type(self)
        cls.requests.append(request)
        if (failure := self._failure(request)) is not None:
            yield failure
            return
        cls.running += 1
        try:
            async with aclosing(self.model.generate(_generation(request))) as chunks:
                if not request.stream:
                    yield Completion(model=request.model, choices=[_choice(await _whole(chunks), request)])
                    return
                async for chunk in chunks:
                    event = Completion(model=request.model, choices=[_choice(chunk, request)])
                    yield f"data: {event.model_dump_json(exclude_unset=True)}\n\n"
                    if cls.broken:
                        error = ErrorInfo(message=cls.broken, type="InternalServerError", code=500)
                        yield f"data: {ErrorResponse(error=error).model_dump_json()}\n\n"
                yield "data: [DONE]\n\n"
        except RefusedError as error:
            yield ErrorResponse(error=ErrorInfo(message=str(error), type="BadRequestError", code=400))
        finally:
            cls.running -= 1

    def _failure(self, request: Any) -> ErrorResponse | None:
        if request.model != self.config.model_id:
            error = ErrorInfo(message="The model does not exist.", type="NotFoundError", code=404)
            return ErrorResponse(error=error)
        if request.response_format is not None:
            return ErrorResponse(error=ErrorInfo(message="secret", type="BadRequestError", code=400))
        return None


def serving(project: Project, run: Run) -> Any:
    """Returns the handle of Ray's own `LLMServer`, which runs in this process with the stand-in under it."""
    install()
    from ray import serve
    from ray.serve.llm.deployment import LLMServer

    from serve_app.engines.ray_llm import configuration

    server = serve.deployment(LLMServer).bind(llm_config=configuration(project, run, gpu=False), engine_cls=StandIn)
    return serve.run(server, name="stand-in", _local_testing_mode=True)


async def _whole(chunks: AsyncGenerator[Chunk, None]) -> Chunk:
    got = [chunk async for chunk in chunks]
    scores = [score for chunk in got for score in chunk.logprobs or []]
    return Chunk([token for chunk in got for token in chunk.token_ids], got[-1].finish_reason, scores or None)


def _generation(request: Any) -> Generation:
    return Generation(
        Prompt(request.prompt),
        request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        logprobs=request.logprobs,
        whole=not request.stream,
    )


def _choice(chunk: Chunk, request: Any) -> Choice:
    """Writes log-probabilities as vLLM does: the token itself first, then the most probable."""
    scores = None
    if request.logprobs is not None:
        tops = []
        for token, score in zip(chunk.token_ids, chunk.logprobs or [], strict=True):
            tops.append({f"token_id:{token}": score.value} | {f"token_id:{other}": one for other, one in score.top})
        scores = LogProbs(
            tokens=[f"token_id:{token}" for token in chunk.token_ids],
            token_logprobs=[score.value for score in chunk.logprobs or []],
            top_logprobs=tops,
        )
    return Choice(
        text="not read",
        logprobs=scores,
        finish_reason=chunk.finish_reason,
        token_ids=chunk.token_ids if request.return_token_ids else None,
    )
