"""transformers' continuous batching on a model in memory: requests join and leave a running batch.

Output contract: greedy answers are those of `model.generate` without the model's own generation configuration. A
`Batch` generates in a thread of its own, in the autocast of the one that made it, and calls back after every step; no
random number of the process is drawn. When it is stopped, the model has the attention it had before.
The cache is allocated at the start, for as many requests of full length as `limits` says. Further requests wait, first
come, first served.
This module does not render, detokenise or choose seeds.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import SolotuneError
from pipeline.generation import Logprob
from pipeline.generation.limits import Limits, kinds

if TYPE_CHECKING:
    from pipeline.generation.sampler import Score

GRAPH_ROWS, GRAPH_KEYS = 256, 32768  # tokens: a captured step is padded to multiples, so that there are few of them
NARROW = 512  # hidden size: below, a product takes less time than another thread needs to wake up
OLDEST, NEWEST = (5, 17), (5, 23)  # of transformers: both were run with the private parts used here

log = logging.getLogger("solotune.generation")


class BatchError(SolotuneError):
    """A batch that did not start, or ended before its requests."""


def known_transformers() -> bool:
    """Whether the private parts of the installed transformers are known: attention, processors of continuous batching.

    With another version a batch uses transformers' own attention and sampling: no `seed`, `logprobs`, `penalties`.
    """
    major, minor = version("transformers").split(".")[:2]
    return OLDEST <= (int(major), int(minor)) <= NEWEST


def unknown_transformers() -> str:
    """Returns which version is installed and which are known."""
    oldest, newest = (".".join(map(str, ends)) for ends in (OLDEST, NEWEST))
    return f"transformers {version('transformers')} is not known here, {oldest} to {newest} are"


def check(model: Any, seeded: bool) -> None:
    """Raises `BatchError` for a model that continuous batching does not take, or takes and gets wrong."""
    name = type(model).__name__
    if getattr(model, "_is_stateful", False):
        raise BatchError(f"{name} keeps a state, which continuous batching would share between requests")
    if not getattr(model, "_supports_attention_backend", False) or not getattr(model, "_supports_sdpa", False):
        raise BatchError(f"{name} has an attention of its own, which continuous batching cannot keep apart")
    if seeded and not known_transformers():
        raise BatchError(unknown_transformers())


@dataclass(frozen=True)
class Request:
    """A request. `settings` are those of the processors in `sampler`; unless `streaming`, it is answered at its end."""

    name: str
    ids: list[int]
    max_tokens: int
    stop_ids: list[int]
    streaming: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


class Tokens(NamedTuple):
    """The new tokens of a request."""

    name: str
    token_ids: list[int]
    finished: bool
    failed: bool
    logprobs: list[Logprob] | None


class Batch:
    """A running batch; `send` is called from its thread. Raises `BatchError` when there is no room for its cache.

    With `greedy`, no request may have `settings`. `stop_ids` and `pad_id` are token ids of the model.
    """

    def __init__(
        self,
        model: Any,
        limits: Limits,
        stop_ids: Sequence[int],
        pad_id: int,
        send: Callable[[list[Tokens]], None],
        greedy: bool = False,
    ) -> None:
        self._send = send
        self._sent: dict[str, int] = {}  # open requests: the number of their tokens that were sent
        self._lock = threading.Lock()  # of `_sent`
        self._model, self._attention = model, model.config._attn_implementation
        self._score: Score | None = None
        self.options: frozenset[str] = frozenset()
        try:
            self._manager = _manager(model, limits, list(stop_ids), pad_id, greedy)
            self._install(greedy)
            self._start()
        except BaseException:
            self._restore()
            raise

    def _install(self, greedy: bool) -> None:
        """Replaces transformers' sampling and its attention."""
        if not known_transformers():
            log.warning(
                "%s: no seeds, log-probabilities or penalties, attention as in transformers", unknown_transformers()
            )
            return
        from pipeline.generation import cpu_attention, cuda_attention, sampler

        cpu = self._model.device.type == "cpu"
        if not greedy:
            scoring = cpu and not self._manager.continuous_batching_config.use_async_batching
            self._score = sampler.install(self._manager, scoring)
            self.options = frozenset({"seed", *(("logprobs", "penalties") if scoring else ())})
        (cpu_attention if cpu else cuda_attention).install(self._model)

    def _start(self) -> None:
        import torch

        router = self._manager.output_router  # by default it calls back on an event loop, or fills an unbounded queue
        router.deliver, router.deliver_batch = lambda output: self._deliver([output]), self._deliver
        device = self._model.device
        if torch.is_autocast_enabled(device.type):  # of this thread alone
            loop, dtype = self._manager._run_generation_loop, torch.get_autocast_dtype(device.type)

            def cast() -> None:
                with torch.autocast(device.type, dtype):
                    loop()

            self._manager._run_generation_loop = cast
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # transformers sets a seed of its own
            self._manager.start()
            while self.running and self._manager.batch_processor is None:  # its thread makes the cache
                time.sleep(0.01)
        if not self.running:
            raise BatchError(f"the batch did not start: {self._manager.background_thread_status.fatal_error}")

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
        """Ends the batch after the step in work; open requests are dropped."""
        self._manager.stop(block=True, hard_stop=True)
        self._restore()

    def _restore(self) -> None:
        if self._model.config._attn_implementation != self._attention:
            self._model.set_attn_implementation(self._attention)

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


def _manager(model: Any, limits: Limits, stop_ids: list[int], pad_id: int, greedy: bool) -> Any:
    from transformers import GenerationConfig
    from transformers.generation import ContinuousBatchingConfig

    # Temperature and top-p of 1 would mean "no such processor", for any request.
    drawing = {} if greedy else {"temperature": 0.5, "top_p": 0.5, "top_k": 0}
    sampling = GenerationConfig(do_sample=not greedy, eos_token_id=stop_ids, pad_token_id=pad_id, **drawing)
    old = not hasattr(ContinuousBatchingConfig, "page_size")  # 5.17: a block is of as many layers as each kind has
    layers = kinds(model)
    config = ContinuousBatchingConfig(
        num_blocks=limits.blocks * (sum(layers) // math.gcd(*layers) if old else 1),
        max_batch_tokens=max(limits.step, limits.requests),
        max_requests_per_batch=limits.requests,
        per_request_processors=not greedy,
        safety_margin=0.0,  # the cache holds every running request whole: no reserve is needed
        use_async_batching=False,
        **{"block_size" if old else "page_size": limits.page},
        **_graphs(model, limits),
    )
    config.auto_switch_to_flash = False  # it would fetch a kernel from the hub; 5.17 has no such setting
    if model.config._attn_implementation != "sdpa":
        model.set_attn_implementation("sdpa")
    return model.init_continuous_batching(sampling, config)


def _graphs(model: Any, limits: Limits) -> dict[str, Any]:
    """Returns the settings of CUDA graphs. A graph is captured for each shape of a step that comes."""
    from pipeline.generation import cuda_attention

    if not (limits.graphs and model.device.type == "cuda" and known_transformers() and cuda_attention.takes(model)):
        return {"use_cuda_graph": False}
    rows = min(GRAPH_ROWS, 64 * math.ceil(limits.requests / 64))
    return {"use_cuda_graph": True, "q_padding_interval_size": rows, "kv_padding_interval_size": GRAPH_KEYS}


def narrow(model: Any) -> bool:
    """Whether the model is faster on one thread of a CPU than on several."""
    return model.device.type == "cpu" and bool(model.config.get_text_config().hidden_size < NARROW)
