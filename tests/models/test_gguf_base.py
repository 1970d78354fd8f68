"""A GGUF file as a base model: the same tokens and logits as the model it was made of, or a sentence."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config.values import ASSETS
from pipeline.errors import ConfigError
from pipeline.export import gguf_convert, gguf_template, llamacpp
from pipeline.models import gguf_base, gguf_tokenizer, load, template
from pipeline.plan import catalogue
from tests.export.test_gguf import LLAMA3, build
from tests.export.test_gguf_vocabulary import TEXTS, byte_level, sentencepiece, vocabulary_only, wrap
from tests.small_model import TEMPLATE

TINY_BASE = ASSETS / "tiny-base"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder of this test's models, in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "solotune" / "models"


def as_gguf(folder: Path, target: Path) -> Path:
    tokenizer = load.Base("a model", folder, None, folder).tokenizer()
    gguf_convert.convert(folder, target, tokenizer, "a model", template.template_text(tokenizer))
    return target


def logits(folder: Path, ids: list[int]) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    causal = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        return causal(torch.tensor([ids])).logits[0]


def test_tiny_base_comes_back_from_gguf(tmp_path: Path, make_project: Any) -> None:
    file = as_gguf(TINY_BASE, tmp_path / "tiny.gguf")
    before, after = load.Base.of(make_project(), str(TINY_BASE)), load.Base.of(make_project(base=file))
    old, new = before.tokenizer(), after.tokenizer()
    for text in gguf_template.TEXTS:
        asked = [{"role": "user", "content": text}]
        assert template.chat_prompt(new, asked) == template.chat_prompt(old, asked)
        assert template.encode(new, text, text, 512) == template.encode(old, text, text, 512)
        assert new.decode(new(text).input_ids) == old.decode(old(text).input_ids)
    ids = template.chat_prompt(old, [{"role": "user", "content": "Wie sperre ich meine Karte?"}])
    torch.testing.assert_close(logits(after.folder, ids), logits(before.folder, ids), atol=2e-3, rtol=1e-3)
    assert catalogue.shape_of(str(file)) == catalogue.shape_of(str(TINY_BASE))
    assert template.stop_token(new) == template.stop_token(old)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Llama", {"head_dim": 64, "attention_bias": True}),
        ("Llama", {"rope_parameters": LLAMA3}),
        ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0}}),
        ("Mistral", {"sliding_window": 1024}),
        ("Qwen2", {}),
        ("Qwen3", {"head_dim": 64, "tie_word_embeddings": True}),
    ],
)
def test_every_architecture_computes_the_same(tmp_path: Path, kind: str, settings: dict[str, Any]) -> None:
    source = build(tmp_path / "source", kind, **settings)
    folder = load.find_folder(str(as_gguf(source, tmp_path / "model.gguf")))
    ids = [1, *range(10, 210)]
    torch.testing.assert_close(logits(folder, ids), logits(source, ids), atol=2e-3, rtol=1e-3)
    wanted, got = (json.loads((place / "config.json").read_text()) for place in (source, folder))
    shared = wanted.keys() & got.keys() - {"architectures", "model_type", "max_position_embeddings", "eos_token_id"}
    assert {name: got[name] for name in shared} == {name: wanted[name] for name in shared}


@pytest.mark.parametrize("kind", ["q8_0", "q4_k_m"])
def test_a_quantised_file_computes_what_llama_cpp_does(tmp_path: Path, kind: str) -> None:
    f16, file = as_gguf(build(tmp_path / "source", "Llama"), tmp_path / "f16.gguf"), tmp_path / "quantised.gguf"
    llamacpp.quantise(f16, file, kind)
    ids = [1, *range(10, 110)]
    ours = logits(load.find_folder(str(file)), ids).log_softmax(-1)
    with llamacpp.Runtime(file, len(ids)) as runtime:
        losses = runtime.losses(ids, 1)
    mine = -ours[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].numpy()
    assert np.abs(mine - losses).mean() < 0.1  # llama.cpp rounds what goes into a product to 8 bits
    assert losses.std() > 1


@pytest.mark.parametrize("kind", [*gguf_tokenizer.SPLITTERS, True, False])
def test_every_tokenizer_makes_the_tokens_that_llama_cpp_makes(tmp_path: Path, kind: Any) -> None:
    core = sentencepiece(kind) if isinstance(kind, bool) else byte_level(*gguf_tokenizer.SPLITTERS[kind])
    file = vocabulary_only(tmp_path, wrap(core, TEMPLATE))
    folder = load.find_folder(str(file))
    tokenizer = load.Base("a model", folder, None, folder).tokenizer()
    with llamacpp.Runtime(file, 64) as runtime:
        for text in TEXTS:
            assert runtime.tokenize(text) == tokenizer(text, add_special_tokens=False).input_ids
            if "</s>" not in text:  # which brings a blank of its own
                assert tokenizer.decode(runtime.tokenize(text)).strip() == text.strip()


def test_what_cannot_be_read_back_is_a_sentence(tmp_path: Path, cache: Path) -> None:
    import gguf as library

    source = as_gguf(build(tmp_path / "source", "Llama"), tmp_path / "model.gguf")
    cut, text, other = tmp_path / "cut.gguf", tmp_path / "text.gguf", tmp_path / "other.gguf"
    cut.write_bytes(source.read_bytes()[:-100_000])
    text.write_text("version https://git-lfs.github.com/spec/v1\n")
    writer = library.GGUFWriter(other, "gpt2")
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    for file, sentence in ((cut, "is cut"), (text, "no GGUF file"), (other, "architecture is gpt2; llama, qwen2")):
        with pytest.raises(ConfigError, match=sentence):
            load.find_folder(str(file))
    assert {path.suffix for path in cache.iterdir()} == {".lock"}


def slow(folder: Path) -> None:
    (folder / "half").write_text("of it")
    time.sleep(30)


def test_a_killed_making_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    place = tmp_path / "models" / "x"
    process = multiprocessing.get_context("fork").Process(target=gguf_base.publish, args=(place, slow))
    process.start()
    while not (place.with_name(".x.tmp") / "half").exists():
        time.sleep(0.01)
    assert process.pid is not None
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not place.exists()
    gguf_base.publish(place, lambda folder: (folder / "whole").write_text("all of it") and None)
    assert [path.name for path in place.iterdir()] == ["whole"]
    assert [path.name for path in place.parent.iterdir()] == ["x"]
    gguf_base.publish(place, slow)  # returns at once
