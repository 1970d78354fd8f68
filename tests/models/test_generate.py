"""Answers of a model in memory: greedy whatever the model's configuration says, seeded draws, adapters on and off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.generation import Prompts, Sampling, continuous, lock_step
from pipeline.models import load
from pipeline.models.generate import answers, complete
from pipeline.train import qlora

PROMPTS = ["card", "account transfer fee refund limit app login", "fee fee", "bank " * 150, "code", "my password"]
STOPS = [2, 5]


@pytest.fixture
def loaded(make_project: Callable[..., Any]) -> tuple[Any, Any]:
    return load.Base.of(make_project()).load()


def generated(model: Any, tokenizer: Any, prompts: list[str], count: int) -> list[str]:
    """Returns transformers' own greedy answers, one at a time."""
    from pipeline.models.template import chat_prompt

    texts = []
    for prompt in prompts:
        ids = torch.tensor([chat_prompt(tokenizer, [{"role": "user", "content": prompt}])])
        out = model.generate(ids, max_new_tokens=count, do_sample=False, eos_token_id=STOPS)[0, ids.size(1) :]
        texts.append(tokenizer.decode(out, skip_special_tokens=True))
    return texts


def test_greedy_answers_are_those_of_generate_one_at_a_time(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    texts, ended = complete(model, tokenizer, PROMPTS, 24)
    assert texts == generated(model, tokenizer, PROMPTS, 24)
    assert len(set(texts)) > 3
    assert not any(ended)
    model.generation_config.eos_token_id = [*STOPS, *tokenizer(texts[0][:30]).input_ids[3:4]]
    shorter, ended = complete(model, tokenizer, PROMPTS, 24)
    assert ended == [len(short) < len(text) for short, text in zip(shorter, texts, strict=True)]
    assert all(text.startswith(short) for short, text in zip(shorter, texts, strict=True))
    assert set(ended) == {True, False}
    assert list(answers(model, tokenizer, [], 24)) == []


def test_the_model_s_own_generation_configuration_counts_for_nothing(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    wanted = complete(model, tokenizer, PROMPTS, 24)
    own = {"repetition_penalty": 9.0, "min_new_tokens": 24, "no_repeat_ngram_size": 1, "temperature": 0.1}
    own |= {"do_sample": True, "bad_words_ids": [[7], [8], [9]], "forced_bos_token_id": 9, "forced_eos_token_id": 11}
    model.generation_config.update(**own, suppress_tokens=list(range(20, 200)), num_beams=3)
    before = model.generation_config.to_dict()
    assert complete(model, tokenizer, PROMPTS, 24) == wanted
    ids = [tokenizer(prompt).input_ids for prompt in PROMPTS]
    asked = Prompts(ids, STOPS, 0, 24)
    assert dict(lock_step.answers(model, asked)) == dict(continuous.answers(model, asked, 1 << 30))
    assert model.generation_config.to_dict() == before


def test_base_and_tuned_answer_from_one_loaded_model(make_project: Callable[..., Any]) -> None:
    project = make_project()
    model, tokenizer = load.Base.of(project).load()
    base = complete(model, tokenizer, PROMPTS, 12)
    tuned = qlora.add_adapter(model, project).eval()
    torch.manual_seed(0)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.3)
    changed = complete(tuned, tokenizer, PROMPTS, 12)
    assert changed != base
    assert changed[0] == generated(tuned, tokenizer, PROMPTS, 12)
    with tuned.disable_adapter():
        assert complete(tuned, tokenizer, PROMPTS, 12) == base
    assert complete(tuned, tokenizer, PROMPTS, 12) == changed


def test_a_seed_draws_the_same_in_any_order_company_and_way(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    seeds = list(range(len(PROMPTS)))
    texts, _ = complete(model, tokenizer, PROMPTS, 16, Sampling(1.2, 0.9, seeds))
    turned, _ = complete(model, tokenizer, PROMPTS[::-1], 16, Sampling(1.2, 0.9, seeds[::-1]))
    alone, _ = complete(model, tokenizer, PROMPTS[1:2], 16, Sampling(1.2, 0.9, seeds[1:2]))
    assert turned[::-1] == texts
    assert alone == texts[1:2]
    assert complete(model, tokenizer, PROMPTS, 16, Sampling(1.2, 0.9, seeds[::-1]))[0] != texts
    ids = [tokenizer(prompt).input_ids for prompt in PROMPTS]
    for top_p in (0.9, 1.0):
        asked = Prompts(ids, STOPS, 0, 16, Sampling(1.2, top_p, seeds))
        assert dict(lock_step.answers(model, asked)) == dict(continuous.answers(model, asked, 1 << 30))


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_side_by_side_give_the_same(loaded: tuple[Any, Any], threads: int) -> None:
    model, tokenizer = loaded
    wanted = generated(model, tokenizer, PROMPTS, 12)
    torch.set_num_threads(threads)
    try:
        assert complete(model, tokenizer, PROMPTS, 12)[0] == wanted
        assert complete(model, tokenizer, PROMPTS[:1], 12)[0] == wanted[:1]
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert model.config._attn_implementation == "sdpa"


def test_nothing_is_left_behind(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    for part in answers(model, tokenizer, PROMPTS * 3, 200):  # and a caller who leaves early
        assert len(part) == 1
        break
    complete(model, tokenizer, PROMPTS, 4)
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_model_with_a_state_answers_in_lock_step_and_says_so(
    tmp_path: Path, tokenizer: Any, make_project: Callable[..., Any]
) -> None:
    from transformers import Qwen3_5TextConfig
    from transformers.models.qwen3_5 import Qwen3_5ForCausalLM

    torch.manual_seed(0)
    config = Qwen3_5TextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8,
        linear_value_head_dim=8, initializer_range=0.3,
    )  # fmt: skip
    model = Qwen3_5ForCausalLM(config).eval()
    told: list[str] = []
    texts, _ = complete(model, tokenizer, PROMPTS[:3], 8, tell=told.append)
    assert texts == generated(model, tokenizer, PROMPTS[:3], 8)
    (sentence,) = told
    assert sentence.startswith("answers are generated in lock-step, which is slower: Qwen3_5ForCausalLM keeps a state")


def test_what_was_answered_is_not_asked_again_when_a_batch_breaks(
    loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = loaded
    wanted = complete(model, tokenizer, PROMPTS, 20)
    forward, steps = model.forward, iter(range(1 << 30))

    def breaking(*arguments: Any, **options: Any) -> Any:
        if "cu_seq_lens_q" in options and next(steps) > 14:
            raise RuntimeError("out of memory")
        return forward(*arguments, **options)

    monkeypatch.setattr(model, "forward", breaking)
    told: list[str] = []
    assert complete(model, tokenizer, PROMPTS, 20, tell=told.append) == wanted
    assert len(told) == 1
