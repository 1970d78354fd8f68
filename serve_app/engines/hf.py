"""The hf engine: transformers' continuous batching on the run's merged model, in a process of its own, on CPU or GPU.

Output contract: that of `hf_process`, which generates. This side finds the model, sends requests down a pipe and hands
their tokens to the generators that wait for them. In one process with the HTTP server, both would wait for each other's
turn at every operation and every event: Python runs one thread at a time.
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
from pipeline.generation.batching import Request, Tokens
from pipeline.run import Run
from serve_app.engines import Chunk, EngineError, FinishReason, Generation, Option, exported
from serve_app.engines.codec import HfCodec
from serve_app.engines.hf_process import Cancel, Model

GREEDY_BELOW = 1e-3  # temperatures: smaller ones are greedy but for rounding
ENDING = 5.0  # seconds that the process gets to end by itself


class HfEngine:
    """Loads `model/merged` of a run and generates in another process. See `Engine`.

    Raises `MissingStageError` before `export`, `IntegrityError` when the model's chat template is not the one that was
    exported, what `Base.load` raises, and `EngineError` when the model does not load otherwise.
    """

    def __init__(self, project: Project, run: Run) -> None:
        model = exported.find(project, run)
        self.codec = HfCodec(model.tokenizer, model.embeddings)
        self.stop_ids, self.max_context = model.stop_ids, model.max_context
        self.model_id, self.created = project.name, model.created
        self._numbers = itertools.count()
        self._open: dict[str, asyncio.Queue[Tokens | None]] = {}  # None: the process has ended
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that reads the pipe
        self._process, self._wire = _start()
        stops, pad = sorted(self.stop_ids), model.tokenizer.pad_token_id
        try:
            self._wire.send(Model(model.folder, project.serve.concurrency, model.max_context, stops, pad))
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
        name, queue, finished = str(next(self._numbers)), asyncio.Queue[Tokens | None](), False
        self._open[name] = queue
        try:
            self._send(self._request(name, request))
            while not finished:
                tokens = await queue.get()
                if tokens is None:
                    raise EngineError("the model's process has ended")
                finished = tokens.finished or tokens.failed
                if tokens.failed:
                    raise EngineError("the batch failed")  # its own text may hold token ids
                ids = tokens.token_ids
                reason: FinishReason = "stop" if ids and ids[-1] in self.stop_ids else "length"
                yield Chunk(ids, reason if tokens.finished else None, tokens.logprobs)
        finally:
            del self._open[name]
            if not finished:
                with contextlib.suppress(EngineError):
                    self._send(Cancel(name))

    def _request(self, name: str, request: Generation) -> Request:
        seeded = "seed" in self.options  # transformers' own sampling is greedy at a top-p of 0
        settings: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0 if seeded else 0.0}  # greedy
        if request.temperature >= GREEDY_BELOW:
            settings = {"temperature": request.temperature, "top_p": request.top_p}
            if seeded:
                settings["seed"] = secrets.randbits(63) if request.seed is None else request.seed
        if request.logprobs is not None:
            settings["logprobs"] = request.logprobs
        if request.penalised:
            settings["frequency_penalty"] = float(request.frequency_penalty)
            settings["presence_penalty"] = float(request.presence_penalty)
        streaming = not request.whole or bool(request.stops)  # the answer ends at a stop string, found above
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
        for tokens in step:
            if (queue := self._open.get(tokens.name)) is not None:
                queue.put_nowait(tokens)

    def _end(self) -> None:
        """Closes the pipe, at which the process ends, and wakes every open request."""
        if not self._wire.closed:
            self._leave()
            self._wire.close()
        for queue in self._open.values():
            queue.put_nowait(None)

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
    """Starts the process, with this one's module path; it ends when this one has closed the pipe or died."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {Model.__module__} import main; main()", str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return process, Connection(ours.detach())
