"""The hf engine's own process: a batch of `pipeline.generation`, fed and read over a pipe.

`HfEngine` starts `main` with one end of a socket pair. Nobody else can write to it, so pickled objects go through it:
a `Model` comes first and is answered by the engine's options or a `SolotuneError`; then `Request` and `Cancel` come in,
and after every step a list of `Tokens` goes out, one for each request with new tokens.
Output contract: that of `pipeline.generation.batching`; the cache holds `concurrency` requests of full length.
The process ends when the other end of the pipe is closed, or when transformers' generation thread has ended.
This module does not render, detokenise or count.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, SolotuneError
from pipeline.generation.batching import (
    Batch,
    Request,
    Tokens,
    known_transformers,
    narrow,
    unknown_transformers,
)
from pipeline.generation.limits import whole
from serve_app.engines import EngineError

PULSE = 1.0  # seconds between two checks of the generation thread
_HEADS_OF_SOME = ("per_layer_config", "global_head_dim")  # in a configuration of transformers 5.23, of 5.17


@dataclass(frozen=True)
class Model:
    """The run's merged model in `folder`, for `concurrency` answers at once of up to `max_context` tokens, prompts
    included."""

    folder: Path
    concurrency: int
    max_context: int
    stop_ids: list[int]
    pad_id: int


@dataclass(frozen=True)
class Cancel:
    """The end of a request whose answer nobody reads."""

    name: str


def start(shape: Model, send: Callable[[list[Tokens]], None]) -> Batch:
    """Loads the model and starts its batch. Raises what `Base.load` and `Batch` raise."""
    import torch

    from pipeline.models import load

    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)  # its warnings hold token ids
    loaded = load.Base.at(shape.folder).model(device=load.device())
    _require_one_cache(loaded)
    if loaded.device.type == "cpu":
        torch.set_num_threads(1 if narrow(loaded) else len(os.sched_getaffinity(0)))
    room = whole(loaded, shape.max_context, shape.concurrency)
    return Batch(loaded, room, shape.stop_ids, shape.pad_id, send)


def _require_one_cache(model: Any) -> None:
    """Raises `ConfigError` where some layers carry a state or have heads of their own size: transformers 5.23 has one
    cache for all."""
    settings = model.config.to_dict()
    if "linear_attention" in (settings.get("layer_types") or ()) or any(map(settings.get, _HEADS_OF_SOME)):
        raise ConfigError(
            f"serve.engine: hf has one kind of cache for all layers, and a {type(model).__name__} needs several: set "
            "it to `vllm` or `gguf`"
        )


def serve(wire: Connection) -> None:
    """Answers the messages of the pipe. Raises `EngineError` when the generation thread has ended."""
    shape = wire.recv()
    try:
        batch = start(shape, wire.send)
    except SolotuneError as error:
        wire.send(error)
        return
    except Exception as error:  # no request has come yet: its text is about the model
        traceback.print_exc()
        cause = "" if known_transformers() else f" ({unknown_transformers()})"
        wire.send(EngineError(f"the model did not load: {type(error).__name__}: {error}{cause}"))
        return
    wire.send(batch.options)
    while batch.running:
        if not wire.poll(PULSE):
            continue
        match wire.recv():
            case Request() as request:
                batch.add(request)
            case Cancel(name):
                batch.cancel(name)
    raise EngineError("the generation thread has ended")


def _watch(descriptor: int) -> None:
    """Ends the process at once when the other end of the pipe is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)  # hanging up is always reported
    poll.poll()
    os._exit(0)


def main() -> None:
    """Runs the process of `HfEngine`; see the module."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all: the service ends this process after its answers
        signal.signal(number, signal.SIG_IGN)
    wire = Connection(int(sys.argv[1]))
    os.set_inheritable(wire.fileno(), False)  # a child with a copy would keep it from closing
    threading.Thread(target=_watch, args=(wire.fileno(),), daemon=True).start()
    code = 0
    try:
        serve(wire)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)  # transformers' thread would keep the process alive
