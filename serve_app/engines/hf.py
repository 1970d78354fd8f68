"""The hf engine: transformers' continuous batching on the run's merged model, in a process of its own, on CPU or GPU.

Output contract: that of `hf_process`, which generates. This side finds the model, sends requests down a pipe and hands
what comes back to those who wait for it. In one process with the HTTP server both would wait for each other's turn at
every operation and every event: Python runs one thread at a time.
When the process dies, all open requests fail, and so does `check`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from multiprocessing.connection import Connection
from typing import Any

from pipeline.config import Project
from pipeline.run import Run
from serve_app.engines import Chunk, EngineError, FinishReason, Generation, Option, exported
from serve_app.engines.codec import HfCodec
from serve_app.engines.hf_process import Cancel, Model, Request, Tokens

GREEDY_BELOW = 1e-3  # temperatures: smaller ones are greedy but for rounding
ENDING = 5.0  # seconds that the process gets to end by itself


class HfEngine:
    """Loads `model/merged` of a run and generates in another process. See `Engine`.

    Raises `MissingStageError` before `export`, `IntegrityError` when the model's chat template is not the one that was
    exported, what `pipeline.models.load.load` raises, and `EngineError` when the model does not load otherwise.
    """

    def __init__(self, project: Project, run: Run) -> None:
        made = exported.find(project, run)
        self.codec, self.stop_ids, self.max_context = HfCodec(made.tokenizer), made.stop_ids, made.max_context
        self.model_id, self.created = project.name, made.created
        self._numbers = itertools.count()
        self._open: dict[str, asyncio.Queue[Tokens | None]] = {}  # None: the process has ended
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that reads the pipe
        self._process, self._wire = _start()
        stops, pad = sorted(self.stop_ids), made.tokenizer.pad_token_id
        try:
            self._wire.send(Model(project, str(made.folder), made.max_context, stops, pad))
            answer = self._wire.recv()
        except (EOFError, OSError) as error:
            raise EngineError(f"the model's process ended with {self._process.wait()} while loading") from error
        if isinstance(answer, Exception):
            self._process.wait()
            raise answer
        self.options: frozenset[Option] = answer

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`."""
        await self.check()
        self._listen()
        name, waiting, finished = str(next(self._numbers)), asyncio.Queue[Tokens | None](), False
        self._open[name] = waiting
        try:
            self._send(self._ask(name, request))
            while not finished:
                made = await waiting.get()
                if made is None:
                    raise EngineError("the model's process has ended")
                finished = made.finished or made.failed
                if made.failed:
                    raise EngineError("the batch failed")  # its own text may hold token ids
                ended: FinishReason = "stop" if made.token_ids and made.token_ids[-1] in self.stop_ids else "length"
                yield Chunk(made.token_ids, ended if made.finished else None, made.logprobs)
        finally:
            del self._open[name]
            if not finished:
                with contextlib.suppress(EngineError):
                    self._send(Cancel(name))

    def _ask(self, name: str, request: Generation) -> Request:
        settings: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0}  # without a seed: greedy
        if request.temperature >= GREEDY_BELOW:
            seed = secrets.randbits(63) if request.seed is None else request.seed
            settings = {"temperature": request.temperature, "top_p": request.top_p, "seed": seed}
        if request.logprobs is not None:
            settings["logprobs"] = request.logprobs
        if request.penalised:
            settings["frequency_penalty"] = float(request.frequency_penalty)
            settings["presence_penalty"] = float(request.presence_penalty)
        streaming = not request.whole or bool(request.stops)  # whoever looks for stop strings ends the answer at one
        return Request(name, request.prompt.ids, request.max_tokens, sorted(self.stop_ids), streaming, settings)

    def _send(self, message: Request | Cancel) -> None:
        try:
            self._wire.send(message)
        except OSError as error:
            raise EngineError("the model's process has ended") from error

    def _listen(self) -> None:
        """Has the running event loop read the pipe."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._leave()
            self._loop = loop
            loop.add_reader(self._wire.fileno(), self._take)
            os.set_blocking(self._wire.fileno(), True)  # uvloop takes that away; a message may be larger than the pipe

    def _leave(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._wire.fileno())

    def _take(self) -> None:
        try:
            step: list[Tokens] = self._wire.recv()
        except (EOFError, OSError):
            self._end()
            return
        for made in step:
            if (waiting := self._open.get(made.name)) is not None:
                waiting.put_nowait(made)

    def _end(self) -> None:
        """Closes the pipe, at which the process ends, and tells all who wait."""
        if not self._wire.closed:
            self._leave()
            self._wire.close()
        for waiting in self._open.values():
            waiting.put_nowait(None)

    async def check(self) -> None:
        """See `Engine`."""
        if self._wire.closed or self._process.poll() is not None:
            raise EngineError("the model's process has ended")

    async def stop(self) -> None:
        """See `Engine`."""
        self._end()
        try:
            await asyncio.to_thread(self._process.wait, ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _start() -> tuple[subprocess.Popen[bytes], Connection]:
    """Starts the process. It finds modules where this one does, and ends when this one has closed the pipe or died."""
    here, there = socket.socketpair()
    with there:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {Request.__module__} import main; main()", str(there.fileno())],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            pass_fds=[there.fileno()],
        )
    return process, Connection(here.detach())
