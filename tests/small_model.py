"""A random Llama with a BPE tokenizer, small enough to train in a test, and a run folder with curated rows."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.config import Project
from pipeline.models.load import Base
from pipeline.run import Run

os.environ["HF_HUB_OFFLINE"] = "1"

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"]
WORDS = ("card", "account", "transfer", "fee", "refund", "limit", "app", "login", "password", "code", "bank", "branch")


def sentence(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words))


def make_tokenizer(template: str | None = TEMPLATE) -> Any:
    """A byte-level BPE tokenizer of a few hundred tokens, trained on the spot."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    draw = random.Random(1)
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([sentence(draw, 20) for _ in range(50)], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>", "<|end|>"]})
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small wait longer for a second thread than they compute."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return make_tokenizer()


def make_model(place: Path, dtype: str = "bfloat16", tie: bool = True, tokenizer: Any = None, **save: Any) -> Path:
    """Writes a random Llama of about 0.1 M parameters with its tokenizer; returns the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer or make_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tie,
        bos_token_id=1,
        eos_token_id=[2, 5],
        pad_token_id=0,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(place, **save)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base") / "tiny")


def make_rows(split: str, count: int) -> list[dict[str, Any]]:
    """Questions and answers in which the answer follows from the question, so that there is something to learn."""
    draw = random.Random(split)
    rows = []
    for number in range(count):
        words = draw.choices(WORDS, k=draw.randint(3, 12))
        prompt, response = " ".join(words), f"about {words[0]} : " + " ".join(reversed(words[:3]))
        rows.append(
            {
                "id": schema.content_id("qa", prompt, response),
                "source": "tickets",
                "source_id": f"{split}-{number}",
                "kind": "qa",
                "prompt": prompt,
                "response": response,
                "later": [],
                "origin": "real",
            }
        )
    return rows


def begin_curated(place: Path) -> Run:
    """Makes a run folder as `curate` leaves it: 60 training rows in two files, 12 validation and 6 golden ones."""
    run = Run.open(str(place))
    stage = run.begin("curate", "curate-key")
    train = pa.Table.from_pylist(make_rows("train", 60), schema=schema.RECORD)
    run.put(stage, "data/train/00000.parquet", train.slice(0, 25))
    run.put(stage, "data/train/00001.parquet", train.slice(25))
    for split, count in (("val", 12), ("golden", 6)):
        table = pa.Table.from_pylist(make_rows(split, count), schema=schema.RECORD)
        run.put(stage, f"data/{split}/00000.parquet", table)
    run.commit(stage, {}, {})
    return run


@pytest.fixture
def curated(tmp_path: Path) -> Run:
    return begin_curated(tmp_path / "run")


@pytest.fixture
def make_project(tiny: Path) -> Callable[..., Project]:
    def make(base: Path = tiny, **sections: Any) -> Project:
        train = {
            "max_length": 128,
            "pack_tokens": 256,
            "rows_per_step": 2,
            "epochs": 2,
            "learning_rate": 5e-3,
            "eval_every": 4,
            "lora": {"r": 4, "alpha": 8},
            **sections.pop("train", {}),
        }
        return Project.model_validate({"name": "test", "base_model": str(base), "train": train, **sections})

    return make


@pytest.fixture
def packed(curated: Run, make_project: Callable[..., Project]) -> Run:
    """The run folder with its rows packed, and the event log of a training with the key `key` begun."""
    from rich.console import Console

    from pipeline.train import qlora
    from pipeline.train.data import pack

    pack.pack(make_project(), Base.of(make_project()), curated, Console(quiet=True))
    qlora.resume(curated, "key")
    return curated
