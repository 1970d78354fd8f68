"""The committed tiny-base model: limits, tokenizer contract, and one greedy rephrasing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "tiny-base"
MEGABYTE = 1_000_000
QUESTION = "Can I change the address and the phone number <PHONE_NUMBER>?"


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)


def test_folder_is_at_most_twelve_megabytes() -> None:
    size = sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file())
    assert size <= 12 * MEGABYTE


def test_architecture_and_parameter_count(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert model.num_parameters() <= 8_000_000
    assert len(tokenizer) == model.config.vocab_size <= 8192


def test_linear_dimensions_suit_nf4(loaded: tuple[Any, Any]) -> None:
    import torch

    layers = [m for m in loaded[0].model.layers.modules() if isinstance(m, torch.nn.Linear)]
    assert layers
    assert all(m.in_features % 64 == 0 and m.out_features % 64 == 0 for m in layers)


def test_special_tokens(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.eos_token == "<|end|>"
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer("Hi")["input_ids"] == tokenizer("Hi", add_special_tokens=False)["input_ids"]


def test_text_survives_the_tokenizer(loaded: tuple[Any, Any]) -> None:
    text = "Überweisung über €1,234.56 an <PERSON>\n\nIBAN: <IBAN_CODE> – 日本"
    assert loaded[1].decode(loaded[1](text)["input_ids"]) == text


def test_template_is_incremental(loaded: tuple[Any, Any]) -> None:
    tokenizer = loaded[1]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How do I block my card?"},
        {"role": "assistant", "content": "Open the app."},
        {"role": "user", "content": "Danke!"},
    ]
    renders = [tokenizer.apply_chat_template(messages[:i], tokenize=False) for i in range(1, len(messages) + 1)]
    assert all(b.startswith(a) for a, b in pairwise(renders))
    prompt = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert renders[2].startswith(prompt)
    assert renders[2] == prompt + "Open the app." + tokenizer.eos_token
    assert renders[-1].count(tokenizer.bos_token) == 1


def test_greedy_rephrasing(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    message = {"role": "user", "content": "Rephrase the question: " + QUESTION}
    inputs = tokenizer.apply_chat_template([message], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    tokens = model.generate(**inputs, max_new_tokens=64, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert tokens[-1] == tokenizer.eos_token_id
    answer = tokenizer.decode(tokens, skip_special_tokens=True)
    words = set(answer.lower().split())
    assert answer != QUESTION
    assert {"change", "address"} <= words
    assert "<PHONE_NUMBER>" in answer
    assert len(words & {"i", "my", "the", "is", "be", "can", "in", "to", "what", "are"}) >= 4
