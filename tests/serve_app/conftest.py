"""A run folder with a finished export of a random Llama, and an engine that says what it is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest

from bench.exported import finish
from pipeline.config import Project
from pipeline.run import Run
from serve_app.engines import Chunk, EngineError, Generation, Logprob, Option
from serve_app.engines.codec import HfCodec

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' and not loop.first %}{{ raise_exception('order') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
MODEL = "tiny"


def make_tokenizer(folder: Path) -> Any:
    """Makes a byte-level BPE tokenizer of 400 tokens: characters beyond ASCII take several."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(["How do I block my card? I would like to open an account, please."] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=TEMPLATE
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run folder whose export stage is finished; `model/merged` is random."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    run = Run.open(str(tmp_path_factory.mktemp("run")))
    merged = run.local("model/merged")
    tokenizer = make_tokenizer(merged)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.6,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight[[2, SPECIAL.index("<|end|>")]] = 0  # it never ends an answer unless it is very hot
    model.save_pretrained(merged)
    finish(run)
    return run


def make_project(**serve: Any) -> Project:
    return Project.model_validate({"name": MODEL, "base_model": "org/model", "serve": serve})


@pytest.fixture(scope="module")
def module_project() -> Project:
    return make_project(concurrency=2, queue=2, max_new_tokens=3000, max_input_tokens=1000)


class Scripted:
    """An engine that answers with given ids, in chunks; `hold` keeps it from going on, `broken` makes it fail."""

    model_id, created, max_context = MODEL, 1, 200

    def __init__(self, tokenizer: Any, ids: list[int], chunk: int = 1) -> None:
        self.codec, self.ids, self.chunk = HfCodec(tokenizer), ids, chunk
        self.options: frozenset[Option] = frozenset({"seed", "logprobs", "penalties"})
        self.stop_ids = frozenset({2, SPECIAL.index("<|end|>")})
        self.hold = asyncio.Event()
        self.hold.set()
        self.requests: list[Generation] = []
        self.closed = 0
        self.broken = ""
        self.breaks_at = 0  # in how many tokens; 0: never

    async def generate(self, request: Generation) -> AsyncGenerator[Chunk, None]:
        self.requests.append(request)
        ids = self.ids[: request.max_tokens]
        try:
            for at in range(0, len(ids), self.chunk):
                await self.hold.wait()
                if self.broken:
                    raise EngineError(self.broken) if self.broken == "engine" else RuntimeError(self.broken)
                if self.breaks_at and at >= self.breaks_at:
                    await asyncio.sleep(0.05)  # what came before is sent
                    raise EngineError("in the middle")
                part = ids[at : at + self.chunk]
                reason = "stop" if ids[-1] in self.stop_ids else "length"
                scores = None if request.logprobs is None else [self.score(token, request.logprobs) for token in part]
                yield Chunk(part, reason if at + self.chunk >= len(ids) else None, scores)  # type: ignore[arg-type]
        finally:
            self.closed += 1

    @staticmethod
    def score(token: int, count: int) -> Logprob:
        return Logprob(-token / 10, ((token, -token / 10), (token + 1, -50.0))[:count])

    async def check(self) -> None:
        if self.broken == "engine":
            raise EngineError(self.broken)

    async def stop(self) -> None:
        pass


@pytest.fixture
def scripted(tokenizer: Any) -> Any:
    """A function from an answer's text to a `Scripted` engine that ends it by the stop token."""

    def make(text: str, chunk: int = 1) -> Scripted:
        return Scripted(tokenizer, [*tokenizer(text, add_special_tokens=False).input_ids, 2], chunk)

    return make
