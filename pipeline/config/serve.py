"""The section `serve`: where the service listens, its limits, its engine, its guard."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.values import PathOrUri, Positive, Settings


class Guard(Settings):
    """What the service does about personal data and toxic text: nothing, count it in the metrics, replace it as
    curation replaced it, or refuse. Types, names and thresholds are those of `curate`."""

    pii_in: Literal["off", "mark", "redact", "refuse"] = Field("off", description="Personal data in questions.")
    pii_out: Literal["off", "mark", "redact", "refuse"] = Field("off", description="Personal data in answers.")
    toxicity_in: Literal["off", "mark", "refuse"] = Field("off", description="Toxic text in questions.")
    toxicity_out: Literal["off", "mark", "refuse"] = Field("off", description="Toxic text in answers.")


class Vllm(Settings):
    """The engines `vllm` and `ray_llm`."""

    memory: float = Field(0.9, gt=0, le=1, description="Share of the card's memory for weights and cache.")
    quantization: str | None = Field(
        None, description="Quantisation method that vLLM knows; null: as the model's own configuration says."
    )
    stream_tokens: Positive = Field(
        1, description="Tokens per answer that vLLM hands over at once: more cost less, and come later."
    )
    prefix_cache: bool = Field(True, description="Prompts that begin alike share their cache.")
    eager: bool = Field(False, description="No CUDA graphs: starts sooner, generates slower.")


class Gguf(Settings):
    """The engine `gguf`, which is llama.cpp."""

    file: str | None = Field(None, description="Name of a file in `model/gguf`; null: the only one there.")
    threads: Positive | None = Field(None, description="CPU threads; null: as many as the replica has cores.")
    gpu_layers: int = Field(-1, ge=-1, description="Layers on the card; -1: all, where the installed wheel has a GPU.")


def _base_url(value: str) -> str:
    """Takes an http(s) URL without credentials, query or fragment; drops a slash at its end."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be like http://host:port/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials: name a file as `key_file`")
    return value.rstrip("/")


class Fake(Settings):
    """The engine `fake`, for tests and load without a model."""

    interval: float = Field(0.0, ge=0, description="Seconds between tokens.")
    length: int = Field(12, ge=0, description="Words per answer; 0: as many tokens as are allowed.")


class Upstream(Settings):
    """The engine `url`: another server that speaks the OpenAI API."""

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="Address such as `http://host:port/v1`, the only one asked; redirects are not followed."
    )
    model: str = Field(description="Name of the model there.")
    key_file: PathOrUri | None = Field(None, description="File with the key that is sent there; null: no key is sent.")
    json_schema: bool = Field(False, description="The server there enforces `response_format`.")


class RequestLog(Settings):
    """The log of requests in `RUN/serve/log`."""

    megabytes: Positive = Field(64, description="MiB of a log file; a full one is compressed and the next begun.")
    keep: Positive = Field(16, description="Compressed files that are kept; older ones are deleted.")


class Serve(Settings):
    """Where the service listens, its limits, its engine."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=1, le=65535, description="TCP port to listen on.")
    engine: Literal["hf", "vllm", "ray_llm", "gguf", "url", "fake"] = Field(
        "hf",
        description="What answers: transformers, vLLM, vLLM by Ray Serve LLM, llama.cpp, another server, or no model.",
    )
    max_new_tokens: Positive = Field(512, description="Most tokens of an answer.")
    max_input_tokens: Positive = Field(
        4096, description="Most tokens of a request's prompt, the chat template included."
    )
    concurrency: Positive = Field(4, description="Answers generated at once.")
    queue: Positive = Field(64, description="Answers that may wait; one more is refused (429).")
    max_choices: int = Field(8, ge=1, le=128, description="Answers that one request may ask for.")
    body_limit: Positive = Field(1 << 20, description="Most bytes of a request's body.")
    deadline: float = Field(600.0, gt=0, description="Seconds from a request's arrival to the end of its answer.")
    drain: float = Field(60.0, ge=0, description="Seconds that running answers get when the service ends.")
    stream_interval: float = Field(
        0.02, ge=0, le=1, description="Seconds within which the tokens of a streamed answer are sent together."
    )
    guard: Guard = Guard()
    playground: bool = Field(
        False, description="A page at /playground to try the model in a browser; the page itself needs no key."
    )
    log: RequestLog = RequestLog()
    vllm: Vllm = Vllm()
    gguf: Gguf = Gguf()
    url: Upstream | None = Field(None, description="Server that the engine `url` asks.")
    fake: Fake = Fake()

    @model_validator(mode="after")
    def _engine_settings(self) -> Serve:
        if self.engine == "url" and self.url is None:
            raise ValueError("engine: url needs `url: {base_url: ..., model: ...}`")
        return self
