"""The gguf engine: llama.cpp in this process, from the prebuilt xllamacpp wheel, on CPU or GPU.

Output contract: the run's own tokenizer renders and encodes; token ids go to llama.cpp and come from it, so the text is
the same as with any other engine. llama.cpp's HTTP port binds 127.0.0.1, on a free port, with a random key. Tokens are
drawn from temperature and top-p alone. A JSON schema is enforced or refused: llama.cpp generates freely when its
grammar engine does not take a schema, so each schema is first tried on one token.
Penalties count the prompt's tokens too, unlike the other engines'. This module quantises nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import urllib.request
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from pipeline.config import Project
from pipeline.errors import IntegrityError, MissingModelError
from pipeline.run import Run
from serve_app.engines import Chunk, EngineError, FinishReason, Generation, Logprob, Option, RefusedError, exported
from serve_app.engines.codec import HfCodec
from serve_app.engines.event_stream import Peer

FOLDER = "model/gguf"
INSTALL = "pip install 'solotune[gguf]' (CPU), or a CUDA wheel of xllamacpp: see its README"
PROBE = "Grüße, 東京: 12,5 €\n"  # must be the same tokens here and in the file
LOOSE = ","  # no JSON begins with it: a schema in force never allows it
REMEMBERED = 256  # schemas whose trial is remembered


class GgufEngine:
    """See `Engine`. Raises `MissingModelError` without package or file, `IntegrityError` for another tokenizer."""

    options: frozenset[Option] = frozenset({"seed", "logprobs", "penalties", "json"})

    def __init__(self, project: Project, run: Run) -> None:
        model = exported.find(project, run)
        file = _file(run, project.serve.gguf.file)
        self.model_id, self.created = project.name, int(file.stat().st_mtime)
        self.codec = HfCodec(model.tokenizer, model.embeddings)
        self.stop_ids, self.max_context = model.stop_ids, model.max_context
        self._loose = model.tokenizer(LOOSE, add_special_tokens=False).input_ids[0]
        self._enforceable: OrderedDict[str, bool] = OrderedDict()
        key = secrets.token_urlsafe(32)
        self._server = self._start(project, file, key)
        self._peer = Peer(self._server.listening_address, key)
        self._same_tokens(model.tokenizer, file, key)

    def _start(self, project: Project, file: Path, key: str) -> Any:
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingModelError(f"serve.engine gguf needs the package xllamacpp: {INSTALL}") from error
        settings = project.serve
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_parallel = settings.concurrency
        params.n_ctx = settings.concurrency * self.max_context
        params.n_gpu_layers = settings.gguf.gpu_layers
        params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [key]
        params.ui, params.endpoint_slots, params.offline, params.verbosity = False, False, True, 0
        if settings.gguf.threads is not None:
            params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.gguf.threads
        try:
            return xllamacpp.Server(params)
        except Exception as error:
            raise IntegrityError(f"llama.cpp cannot load {file}: {error}") from error

    def _same_tokens(self, tokenizer: Any, file: Path, key: str) -> None:
        """Compares the file's tokenizer with the run's on one text; before any event loop runs."""
        body = json.dumps({"content": PROBE, "add_special": False}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        request = urllib.request.Request(f"{self._server.listening_address}/tokenize", body, headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            theirs = json.load(response)["tokens"]
        if theirs != tokenizer(PROBE, add_special_tokens=False).input_ids:
            raise IntegrityError(f"{file} has another tokenizer than the run's model: export it again")

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`."""
        if request.schema is not None and not await self._enforced(request.schema):
            raise RefusedError("This JSON schema cannot be enforced here.", "response_format")
        count = 0
        async with aclosing(self._peer.events("/completion", self._body(request))) as events:
            async for event in events:
                ids = event.get("tokens") or []
                count += len(ids)
                ended = self._ended(event, ids)
                if ended == "stop" and not (ids and ids[-1] in self.stop_ids) and event.get("stop"):
                    ids = ids + [min(self.stop_ids)] * (event["tokens_predicted"] - count)  # the end, not written out
                if ids or ended is not None:
                    yield Chunk(ids, ended, _scores(event, request.logprobs, len(ids)))
                if ended is not None:
                    return
        raise EngineError("llama.cpp ended an answer without a reason")

    def _ended(self, event: dict[str, Any], ids: list[int]) -> FinishReason | None:
        if ids and ids[-1] in self.stop_ids:
            return "stop"
        if not event.get("stop"):
            return None
        return "length" if event.get("stop_type") == "limit" else "stop"

    def _body(self, request: Generation) -> dict[str, Any]:
        body: dict[str, Any] = {
            "prompt": request.prompt.ids,
            "n_predict": request.max_tokens,
            "stream": True,
            "return_tokens": True,
            "samplers": ["penalties", "top_k", "temperature", "top_p"],
            "temperature": 0.0 if request.greedy else request.temperature,
            "top_k": 0,
            "top_p": 1.0 if request.greedy else request.top_p,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "repeat_last_n": self.max_context,
            "frequency_penalty": request.frequency_penalty,
            "presence_penalty": request.presence_penalty,
            "seed": secrets.randbits(31) if request.seed is None else request.seed % (2**32 - 1),
            # A reused prefix changes the last bits of a draw.
            "cache_prompt": request.seed is None and not request.greedy,
        }
        if request.logprobs is not None:
            body["n_probs"] = max(1, request.logprobs)
        if request.schema is not None:
            body["json_schema"] = _tight(request.schema)
        return body

    async def _enforced(self, schema: dict[str, Any]) -> bool:
        """Whether the grammar engine takes a schema: one in force keeps the likeliest token from being drawn."""
        name = hashlib.sha256(json.dumps(schema).encode()).hexdigest()
        if name not in self._enforceable:
            body = {"prompt": [self._loose], "n_predict": 1, "temperature": 0.0, "return_tokens": True}
            body |= {"logit_bias": [[self._loose, 1000.0]], "json_schema": _tight(schema), "cache_prompt": False}
            drawn = await self._peer.post("/completion", body)
            self._enforceable[name] = drawn.get("tokens") != [self._loose]
            while len(self._enforceable) > REMEMBERED:
                self._enforceable.popitem(last=False)
        return self._enforceable[name]

    async def check(self) -> None:
        """See `Engine`."""
        if self._server is None:
            raise EngineError("llama.cpp was stopped")
        await self._peer.get("/health")

    async def stop(self) -> None:
        """See `Engine`."""
        await self._peer.close()
        self._server = None  # its destructor ends the threads


def _file(run: Run, name: str | None) -> Path:
    folder = run.local(FOLDER)
    if name is not None:
        if Path(name).name != name or not (folder / name).is_file():
            raise MissingModelError(f"serve.gguf.file: there is no {name} in {folder}")
        return folder / name
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        content = "several GGUF files, name one as `serve.gguf.file`" if files else "no GGUF file: export one first"
        raise MissingModelError(f"{folder} holds {content}")
    return files[0]


def _tight(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema with fixed white space: a model may repeat an optional space for ever."""
    style = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return {**schema, "x-guidance": style}


def _scores(event: dict[str, Any], count: int | None, tokens: int) -> list[Logprob] | None:
    """Returns one entry per token; a token without one in the event gets a log-probability of 0."""
    if count is None:
        return None
    scores = [
        Logprob(float(one["logprob"]), tuple((top["id"], float(top["logprob"])) for top in one["top_logprobs"][:count]))
        for one in event.get("completion_probabilities") or []
    ]
    return scores + [Logprob(0.0)] * (tokens - len(scores))
