"""The section `serve`: where the service listens, its limits, its engine, its guard."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.values import PathOrUri, Positive, Settings


class Guard(Settings):
    """What the service does about personal data and toxic text: nothing, count it in the metrics, replace it as
    curation replaced it, or refuse. Types, names and thresholds are those of `curate`."""

    pii_in: Literal["off", "mark", "redact", "refuse"] = "off"  # in questions
    pii_out: Literal["off", "mark", "redact", "refuse"] = "off"  # in answers
    toxicity_in: Literal["off", "mark", "refuse"] = "off"
    toxicity_out: Literal["off", "mark", "refuse"] = "off"


class Vllm(Settings):
    memory: Annotated[float, Field(gt=0, le=1)] = 0.9  # share of the card's memory for weights and cache
    quantization: str | None = None  # a method that vLLM knows; null: as the model's own configuration says
    stream_tokens: Positive = 1  # tokens per answer that vLLM hands over at once: more cost less, and come later
    prefix_cache: bool = True
    eager: bool = False  # without CUDA graphs: starts sooner, generates slower


class Gguf(Settings):
    file: str | None = None  # name under `model/gguf`; null: the only one there
    threads: Positive | None = None  # null: as many as the replica has cores
    gpu_layers: Annotated[int, Field(ge=-1)] = -1  # layers on the card; -1: all, where the installed wheel has a GPU


def _base_url(value: str) -> str:
    """Takes an http(s) URL without credentials, query or fragment; drops a slash at its end."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be like http://host:port/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials: name a file as `key_file`")
    return value.rstrip("/")


class Fake(Settings):
    interval: Annotated[float, Field(ge=0)] = 0.0  # seconds between tokens
    length: Annotated[int, Field(ge=0)] = 12  # words per answer; 0: as many tokens as are allowed


class Upstream(Settings):
    base_url: Annotated[str, AfterValidator(_base_url)]  # the only address that is asked; redirects are not followed
    model: str  # its name there
    key_file: PathOrUri | None = None  # holds the key that is sent there
    json_schema: bool = False  # the server there enforces `response_format`


class RequestLog(Settings):
    megabytes: Positive = 64  # of a file of `RUN/serve/log`: a full one is compressed and the next begun
    keep: Positive = 16  # compressed files; older ones are deleted


class Serve(Settings):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    engine: Literal["hf", "vllm", "ray_llm", "gguf", "url", "fake"] = "hf"
    max_new_tokens: Positive = 512
    max_input_tokens: Positive = 4096
    concurrency: Positive = 4  # answers generated at once
    queue: Positive = 64  # answers that may wait; one more is refused (429)
    max_choices: Annotated[int, Field(ge=1, le=128)] = 8  # answers that one request may ask for
    body_limit: Positive = 1 << 20  # bytes
    deadline: Annotated[float, Field(gt=0)] = 600.0  # seconds from a request's arrival to the end of its answer
    drain: Annotated[float, Field(ge=0)] = 60.0  # seconds that running answers get when the service ends
    stream_interval: Annotated[float, Field(ge=0, le=1)] = 0.02  # seconds: tokens that come faster are sent together
    guard: Guard = Guard()
    playground: bool = False  # a page at /playground to try the model in a browser: the page itself needs no key
    log: RequestLog = RequestLog()
    vllm: Vllm = Vllm()
    gguf: Gguf = Gguf()
    url: Upstream | None = None
    fake: Fake = Fake()

    @model_validator(mode="after")
    def _engine_settings(self) -> Serve:
        if self.engine == "url" and self.url is None:
            raise ValueError("engine: url needs `url: {base_url: ..., model: ...}`")
        return self
