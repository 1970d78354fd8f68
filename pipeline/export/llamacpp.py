"""llama.cpp as a quantiser and as the runtime that measures what will be served (prebuilt wheels: cyllama, xllamacpp).

Output contract: `quantise` writes a GGUF file with llama.cpp's own `llama_model_quantize`; a `Runtime` is a file that
llama.cpp has loaded, and answers with token ids and with the negative log-likelihood (nats) of given tokens, computed
from llama.cpp's logits on the CPU; `render` asks llama-server's own code what a conversation looks like. What
llama.cpp writes to stderr is kept quiet.
This module does not convert, does not generate and knows no threshold.
"""

from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pipeline import storage
from pipeline.errors import IntegrityError, MissingModelError

BATCH = 512  # tokens that one call decodes
TYPES = {"f16": 1, "q8_0": 7, "q4_k_m": 15}  # `enum llama_ftype` in llama.h
_NEEDED = "export.gguf needs llama.cpp: `pip install 'solotune[gguf]'`, or leave `gguf` out of `export`"


def require() -> Any:
    """Returns the bindings; raises `MissingModelError` where the extra is not installed."""
    try:
        from cyllama.llama import llama_cpp
    except ImportError as error:
        raise MissingModelError(_NEEDED) from error
    llama_cpp.disable_logging()
    return llama_cpp


def version() -> str:
    """Returns which llama.cpp does the work."""
    from importlib.metadata import version

    bindings = require()
    return f"cyllama {version('cyllama')} (ggml {bindings.ggml_version()}, {bindings.ggml_commit()})"


def threads() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def quantise(source: Path, target: Path, kind: str) -> None:
    """Writes `source`, a GGUF file in F16, as `kind` (a key of `TYPES`); raises `IntegrityError` when llama.cpp fails,
    `StorageError` where that is for want of space, which it does not say.

    Where a row is no multiple of 256 values, llama.cpp falls back from a k-quant to Q5_0 or Q8_0 for that tensor.
    """
    bindings = require()
    params = bindings.LlamaModelQuantizeParams()
    params.ftype, params.nthread = TYPES[kind], threads()
    try:
        bindings.model_quantize(str(source), str(target), params)
    except RuntimeError as error:
        if target.is_file() and not storage.has_room(target):
            raise storage.full(str(target)) from error
        raise IntegrityError(f"llama.cpp could not quantise {source.name} as {kind}: {error}") from error


def render(path: Path, conversations: Sequence[list[dict[str, str]]], template: str = "") -> list[str | None]:
    """Returns each conversation as llama-server renders it for a client that sets nothing, None where it refuses.

    `template` stands in for the file's own. Raises `IntegrityError` for a file that does not load, or whose template
    llama.cpp cannot read.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingModelError(_NEEDED) from error
    key = secrets.token_urlsafe(32)
    params = xllamacpp.CommonParams()
    params.model.path, params.chat_template, params.use_jinja = str(path), template, True
    params.n_ctx, params.n_parallel, params.n_gpu_layers, params.warmup = 64, 1, 0, False
    params.no_extra_bufts = True  # no weight is copied into another layout
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [key]
    params.ui, params.endpoint_slots, params.endpoint_metrics = False, False, True
    params.offline, params.verbosity = True, 0
    try:
        server = xllamacpp.Server(params)
        server.handle_metrics()  # answered once its loop runs: ended before, it never ends (xllamacpp 2026.10)
    except Exception as error:
        raise IntegrityError(f"llama.cpp does not load {path.name} with its chat template: {error}") from error
    return [
        (post(server.listening_address, key, "/apply-template", {"messages": messages}) or {}).get("prompt")
        for messages in conversations
    ]


def post(address: str, key: str, route: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Returns what a llama-server on this machine answers, None where it refuses."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{address}{route}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
            return dict(json.load(response))
    except urllib.error.HTTPError:
        return None


def _model(bindings: Any) -> Any:
    """Returns cyllama's model class with `n_vocab`, which 0.2.18 reads in `get_logits_ith` and does not define."""

    class Model(bindings.LlamaModel):  # type: ignore[misc]
        @property
        def n_vocab(self) -> int:
            return int(self.get_vocab().n_vocab)

    return Model


class Runtime:
    """A GGUF file, loaded by llama.cpp with room for `context` tokens. A context manager."""

    def __init__(self, path: Path, context: int) -> None:
        """Raises `IntegrityError` for a file that llama.cpp does not load."""
        self._bindings = require()
        settings = self._bindings.LlamaContextParams()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = context, BATCH, BATCH
        settings.n_threads = settings.n_threads_batch = threads()
        try:
            self._model = _model(self._bindings)(str(path), verbose=False)
            self._context = self._bindings.LlamaContext(self._model, settings, verbose=False)
        except (ValueError, RuntimeError) as error:
            raise IntegrityError(f"llama.cpp does not load {path.name}: {error}") from error
        self._vocabulary = self._model.get_vocab()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.close()
        self._model.close()

    def tokenize(self, text: str, special: bool = True) -> list[int]:
        """Returns the ids of a text; none is added. Unless `special`, a control token that it quotes is text."""
        return list(self._vocabulary.tokenize(text, add_special=False, parse_special=special))

    def losses(self, ids: Sequence[int], first: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Returns -log p of the tokens `ids[first:]`, each given all before it; `first` is at least 1."""
        self._context.kv_cache_clear()
        nats: list[float] = []
        for start in range(0, len(ids) - 1, BATCH):  # the last token predicts nothing that is asked for
            part = ids[start : min(start + BATCH, len(ids) - 1)]
            batch = self._bindings.LlamaBatch(n_tokens=len(part), embd=0, n_seq_max=1)
            for position, token in enumerate(part, start):
                batch.add(token, position, [0], position + 1 >= first)
            self._context.decode(batch)
            for position in range(max(start, first - 1), start + len(part)):
                logits = np.asarray(self._context.get_logits_ith(position - start), np.float64)
                top = logits.max()
                nats.append(float(top + np.log(np.exp(logits - top).sum()) - logits[ids[position + 1]]))
            batch.close()
        return np.array(nats)
