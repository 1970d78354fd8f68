"""From a valid request to the engine's: the model, the engine's options, the prompt's tokens, the limits.

Output contract: a `Job` that the engine can take, or an `ApiError` (400, 404) that names the argument. No other module
gives a request's text to the engine.
This module does not run the engine.
"""

from __future__ import annotations

import asyncio

from pipeline.config import Serve
from pipeline.errors import ConfigError
from serve_app import errors
from serve_app.engines import Engine, Generation, Option, Prompt
from serve_app.generation.answer import Job
from serve_app.openai_api.chat import ChatRequest
from serve_app.openai_api.completions import CompletionRequest
from serve_app.openai_api.options import SEED, Options

LONGEST_TOKEN = 32  # characters; a text with more per allowed token is refused before it is tokenised
TEXT_TOKENS = 16  # what /v1/completions generates unless told otherwise, as OpenAI's does

ABLE: dict[Option, str] = {  # the engines that have an option, for who asks one without it
    "seed": "hf, vllm or gguf",
    "penalties": "hf on a CPU, vllm or gguf",
    "logprobs": "hf on a CPU, vllm or gguf",
    "json": "vllm or gguf",
}


def chat(engine: Engine, settings: Serve, request: ChatRequest, gives_logprobs: bool = True) -> Job:
    """Returns the job of a chat: `n` answers to one rendered conversation."""
    _supported(engine, settings, request, request.n or 1, gives_logprobs)
    messages = [message.rendered() for message in request.messages]
    most = _longest(engine, settings)
    if sum(len(message["content"]) for message in messages) > LONGEST_TOKEN * most:
        raise _too_long(most, "messages")
    ids: list[int] = []
    if engine.codec is not None:
        try:
            ids = engine.codec.render(messages)
        except ConfigError as error:
            message = "This model's chat template does not take messages in these roles and this order."
            raise errors.bad_request(message, "messages") from error
    prompt = Prompt(ids, messages=messages)
    tokens = _room(engine, settings, request, len(ids), "messages", settings.max_new_tokens)
    generations = [_generation(request, prompt, tokens, index) for index in range(request.n or 1)]
    return _job(settings, request, generations, 1, "chatcmpl")


def completion(engine: Engine, settings: Serve, request: CompletionRequest, gives_logprobs: bool = True) -> Job:
    """Returns the job of a text completion: `n` continuations of every prompt."""
    prompts, each = request.prompts, request.n or 1
    _supported(engine, settings, request, len(prompts) * each, gives_logprobs)
    most = _longest(engine, settings)
    generations: list[Generation] = []
    echoes: list[str] = []
    for source in prompts:
        if len(source) > (LONGEST_TOKEN if isinstance(source, str) else 1) * most:
            raise _too_long(most, "prompt")
        prompt = _text_prompt(engine, source)
        tokens = _room(engine, settings, request, len(prompt.ids), "prompt", min(TEXT_TOKENS, settings.max_new_tokens))
        generations += [_generation(request, prompt, tokens, index) for index in range(each)]
        if request.echo:
            decoded = engine.codec.decode(prompt.ids) if prompt.text is None and engine.codec is not None else ""
            echoes += [prompt.text or decoded] * each
    job = _job(settings, request, generations, len(prompts), "cmpl")
    job.echoes = echoes
    return job


def _text_prompt(engine: Engine, source: str | list[int]) -> Prompt:
    if engine.codec is None:
        if not isinstance(source, str):
            message = "Invalid value for prompt: this service's engine (url) takes text, not the ids of a tokenizer."
            raise errors.bad_request(message, "prompt", "unsupported_parameter")
        return Prompt([], text=source)
    ids = engine.codec.encode(source) if isinstance(source, str) else source
    if any(token >= engine.codec.size for token in ids):
        raise errors.bad_request("Invalid value for prompt: a token id is not in the vocabulary.", "prompt")
    if not ids:
        raise errors.bad_request("Invalid value for prompt: it must not be empty.", "prompt", "invalid_value")
    return Prompt(ids, text=source if isinstance(source, str) else None)


def _supported(engine: Engine, settings: Serve, request: Options, choices: int, gives_logprobs: bool) -> None:
    """Raises a 404 for another model, a 400 for an argument that is not served here."""
    if request.alternatives is not None and not gives_logprobs:
        raise errors.bad_request("This service may change answers, so it gives no logprobs.", "logprobs")
    if request.model != engine.model_id:
        raise errors.unknown_model()
    if request.stream_options is not None and not request.stream:
        raise errors.bad_request("stream_options is only allowed when stream is true.", "stream_options")
    if isinstance(request, ChatRequest) and request.top_logprobs is not None and not request.logprobs:
        raise errors.bad_request("top_logprobs is only allowed when logprobs is true.", "top_logprobs")
    if choices > settings.max_choices:
        param = "n" if (request.n or 1) > 1 else "prompt"
        message = f"{param} is too large: this service makes at most {settings.max_choices} answers at once."
        raise errors.bad_request(message, param, "invalid_value")
    used: dict[str, tuple[Option, bool]] = {
        "seed": ("seed", request.seed is not None),
        "frequency_penalty": ("penalties", bool(request.frequency_penalty)),
        "presence_penalty": ("penalties", bool(request.presence_penalty)),
        "logprobs": ("logprobs", request.alternatives is not None),
        "response_format": ("json", request.answer_schema is not None),
    }
    for param, (option, is_used) in used.items():
        if is_used and option not in engine.options:
            raise errors.unsupported(param, ABLE[option])


def _longest(engine: Engine, settings: Serve) -> int:
    """Returns the most tokens of a prompt: at least one is left for the answer."""
    return min(settings.max_input_tokens, engine.max_context - 1)


def _room(engine: Engine, settings: Serve, request: Options, prompt: int, param: str, default: int) -> int:
    """Returns the most tokens of the answer."""
    most = _longest(engine, settings)
    if prompt > most:
        raise _too_long(most, param, prompt)
    room = engine.max_context - prompt
    argument, limit = request.limit
    if limit is not None and limit > settings.max_new_tokens:
        message = f"{argument} is too large: this service generates at most {settings.max_new_tokens} tokens."
        raise errors.bad_request(message, argument, "invalid_value")
    if limit is not None and limit > room:
        raise _too_long(engine.max_context, param, prompt + limit)
    return limit or min(default, room)


def _generation(request: Options, prompt: Prompt, tokens: int, index: int) -> Generation:
    seed = request.seed
    return Generation(
        prompt=prompt,
        max_tokens=tokens,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=None if seed is None else (seed + index + SEED) % (2 * SEED) - SEED,
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        logprobs=request.alternatives,
        schema=request.answer_schema,
        whole=not request.stream and not request.stops,
        stops=request.stops,
    )


def _job(settings: Serve, request: Options, generations: list[Generation], prompts: int, prefix: str) -> Job:
    options = request.stream_options
    return Job(
        generations=generations,
        prompts=prompts,
        deadline=asyncio.get_running_loop().time() + settings.deadline,
        stream=bool(request.stream),
        include_usage=bool(options and options.include_usage),
        interval=settings.stream_interval,
        prefix=prefix,
    )


def _too_long(most: int, param: str, tokens: int | None = None) -> errors.ApiError:
    """Returns a 400 that begins with OpenAI's words, by which clients know that they should shorten."""
    counted = "" if tokens is None else f" However, this request asks for {tokens}."
    message = f"This model's maximum context length is {most} tokens here.{counted}"
    return errors.bad_request(message, param, "context_length_exceeded")
