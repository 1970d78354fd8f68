"""The hf engine's own process: transformers' continuous batching, fed and read over a pipe.

`HfEngine` starts `main` with one end of a socket pair. Nobody else can write to it, so pickled objects go through it:
a `Model` comes first and is answered by the engine's options or a `SolotuneError`; then `Request` and `Cancel` come in,
and after every step a list of `Tokens` goes out, one for each request with new tokens.
Output contract: greedy answers are those of `model.generate`; requests join and leave a running batch. The cache holds
`concurrency` requests of full length and is allocated at the start (by default, transformers takes 60 % of free memory
on a CPU, 80 % on a GPU). Further requests wait in the batch's queue, first come, first served.
The process ends when the other end of the pipe is closed, or when transformers' generation thread has ended.
This module does not render, detokenise or count.
"""

from __future__ import annotations

import logging
import math
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.config import Project
from pipeline.errors import SolotuneError
from serve_app.engines import EngineError, Logprob, Option

if TYPE_CHECKING:
    from serve_app.engines.sampler import Score

PAGE = 256  # tokens per block of the cache: the default of every version, under names that differ
STEP_TOKENS = 1024  # tokens per forward pass: a longer prompt is read in several
NARROW = 512  # hidden size: below, a product takes less time than another thread needs to wake up
PULSE = 1.0  # seconds between two checks of the generation thread
OLDEST, NEWEST = (5, 17), (5, 23)  # of transformers: both were run with the private parts used here

log = logging.getLogger("solotune.serve")


def known_transformers() -> bool:
    """Whether the private parts of the installed transformers are known: attention, processors of continuous batching.

    With another version the engine uses transformers' own attention and sampling: no `seed`, `logprobs`, `penalties`.
    """
    major, minor = version("transformers").split(".")[:2]
    return OLDEST <= (int(major), int(minor)) <= NEWEST


def _unknown() -> str:
    oldest, newest = (".".join(map(str, ends)) for ends in (OLDEST, NEWEST))
    return f"transformers {version('transformers')} is not known here, {oldest} to {newest} are"


@dataclass(frozen=True)
class Model:
    """The run's merged model in `folder`, for prompts and answers of up to `max_context` tokens."""

    project: Project
    folder: str
    max_context: int
    stop_ids: list[int]
    pad_id: int


@dataclass(frozen=True)
class Request:
    """A request. `settings` are those of the processors in `sampler`; unless `streaming`, it is answered at its end."""

    name: str
    ids: list[int]
    max_tokens: int
    stop_ids: list[int]
    streaming: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cancel:
    """The end of a request whose answer nobody reads."""

    name: str


class Tokens(NamedTuple):
    """The new tokens of a request."""

    name: str
    token_ids: list[int]
    finished: bool
    failed: bool
    logprobs: list[Logprob] | None


class Batch:
    """A running batch; `send` is called from its thread. Raises `EngineError` when there is no room for its cache."""

    def __init__(self, model: Any, shape: Model, send: Callable[[list[Tokens]], None]) -> None:
        self._send = send
        self._sent: dict[str, int] = {}  # open requests: the number of their tokens that were sent
        self._lock = threading.Lock()  # of `_sent`
        self._manager = _manager(model, shape)
        self._score: Score | None = None
        self.options: frozenset[Option] = frozenset()
        if known_transformers():
            self._install(model)
        else:
            log.warning("%s: no seeds, log-probabilities or penalties, attention as in transformers", _unknown())
        router = self._manager.output_router  # by default it calls back on an event loop, or fills an unbounded queue
        router.deliver, router.deliver_batch = lambda output: self._deliver([output]), self._deliver
        self._manager.start()
        while self.running and self._manager.batch_processor is None:  # its thread makes the cache
            time.sleep(0.01)
        if not self.running:
            raise EngineError(f"the batch did not start: {self._manager.background_thread_status.fatal_error}")

    def _install(self, model: Any) -> None:
        """Replaces transformers' sampling, and on a CPU its attention."""
        from serve_app.engines import cpu_attention, sampler

        cpu = model.device.type == "cpu"
        self._score = sampler.install(
            self._manager, scoring=cpu and not self._manager.continuous_batching_config.use_async_batching
        )
        scoring: set[Option] = set() if self._score is None else {"logprobs", "penalties"}
        self.options = frozenset({"seed", *scoring})
        if cpu:
            cpu_attention.install(model)

    @property
    def running(self) -> bool:
        """Whether the batch still takes requests."""
        return bool(self._manager.is_running())

    def add(self, request: Request) -> None:
        """Adds a request to the batch."""
        with self._lock:
            self._sent[request.name] = 0
        self._manager.add_request(
            request.ids,
            request_id=request.name,
            max_new_tokens=request.max_tokens,
            streaming=request.streaming,
            eos_token_id=request.stop_ids,
            **request.settings,
        )

    def cancel(self, name: str) -> None:
        """Cancels a request; tokens that transformers still makes for it are dropped."""
        with self._lock:
            is_open = self._sent.pop(name, None) is not None
        if is_open:
            self._manager.cancel_request(name)

    def stop(self) -> None:
        """Ends the batch; open requests are dropped."""
        self._manager.stop(block=True, timeout=5, hard_stop=True)

    def _deliver(self, outputs: list[Any]) -> None:
        with self._lock:
            step = [self._tokens(output) for output in outputs if output.request_id in self._sent]
            if self._score is not None:
                for name in self._score.logprobs.keys() - self._sent.keys():
                    del self._score.logprobs[name]
        if step:
            self._send(step)

    def _tokens(self, output: Any) -> Tokens:
        name, finished, failed = output.request_id, output.is_finished(), output.error is not None
        start, end = self._sent[name], len(output.generated_tokens)
        logprobs = None if self._score is None else self._score.logprobs.get(name)
        self._sent[name] = end
        if finished or failed:
            del self._sent[name]
        return Tokens(name, output.generated_tokens[start:], finished, failed, logprobs and logprobs[start:end])


def _manager(model: Any, shape: Model) -> Any:
    from transformers import GenerationConfig
    from transformers.generation import ContinuousBatchingConfig

    concurrency = shape.project.serve.concurrency
    # Temperature and top-p of 1 would mean "no such processor", for any request.
    sampling = GenerationConfig(
        do_sample=True, temperature=0.5, top_p=0.5, top_k=0, eos_token_id=shape.stop_ids, pad_token_id=shape.pad_id
    )
    limits = ContinuousBatchingConfig(
        num_blocks=concurrency * (math.ceil(shape.max_context / PAGE) + 1),
        max_batch_tokens=max(STEP_TOKENS, concurrency),
        max_requests_per_batch=concurrency,
        per_request_processors=True,
        safety_margin=0.0,  # the cache holds every running request whole: no reserve is needed
    )
    limits.auto_switch_to_flash = False  # it would fetch a kernel from the hub; 5.17 has no such setting
    return model.init_continuous_batching(sampling, limits)


def start(shape: Model, send: Callable[[list[Tokens]], None]) -> Batch:
    """Loads the model and starts its batch. Raises what `Base.load` and `Batch` raise."""
    import torch

    from pipeline.models import load

    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)  # its warnings hold token ids
    loaded, _ = load.Base.of(shape.project, shape.folder).load(device=load.device())
    if loaded.device.type == "cpu":
        narrow = loaded.config.get_text_config().hidden_size < NARROW
        torch.set_num_threads(1 if narrow else len(os.sched_getaffinity(0)))
    return Batch(loaded, shape, send)


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
        cause = "" if known_transformers() else f" ({_unknown()})"
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
