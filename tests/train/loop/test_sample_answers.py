"""Answers during training: they are there, they are the model's, and the training does not notice."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.models import load
from pipeline.models.generate import complete
from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.kernels import packed_attention
from pipeline.train.loop import sample_answers
from pipeline.train.loop.event_log import EventLog
from tests.train.loops import lines, loop

PROMPTS = ["lost card open account", "fee", "password code bank branch refund limit"]


def test_a_training_that_is_asked_is_the_same_training(packed: Run, make_project: Any) -> None:
    project = make_project(train={"lora": {"r": 4, "alpha": 8, "dropout": 0.1}})
    loop(project, packed).train()
    plain = lines(packed)
    packed.delete("checkpoints")
    qlora.resume(packed, "key")
    asked = loop(project, packed)
    _, tokenizer = load.Base.of(project).load()
    asked.add_callback(sample_answers.Sampler(tokenizer, PROMPTS, asked.event_log))
    asked.train()
    found = [line for line in lines(packed) if line.get("event") == "samples"]
    assert [line["step"] for line in found] == [line["step"] for line in plain if "eval_loss" in line]
    assert all(len(line["answers"]) == 3 for line in found)
    assert found[0]["answers"] != found[-1]["answers"]
    assert [line for line in lines(packed) if line.get("event") != "samples"] == plain


def test_the_answers_are_those_of_the_model_loaded_plainly(make_project: Any, tmp_path: Any) -> None:
    project = make_project()
    plain, tokenizer = load.Base.of(project).load()
    wanted, _ = complete(plain, tokenizer, PROMPTS, sample_answers.NEW_TOKENS)
    training = qlora.add_adapter(load.Base.of(project).load(attention=packed_attention.register())[0], project).train()
    event_log = EventLog(tmp_path / "lines.jsonl")
    event_log.cut("key", None)
    before = torch.random.get_rng_state()
    state = type("State", (), {"global_step": 3})()
    sample_answers.Sampler(tokenizer, PROMPTS, event_log).on_evaluate(None, state, None, model=training)
    (line,) = event_log.read()
    assert line["answers"] == wanted
    assert line["step"] == 3
    assert training.training
    assert training.get_base_model().config._attn_implementation == packed_attention.NAME
    assert torch.equal(torch.random.get_rng_state(), before)
