"""What is supervised, where an answer ends, and which templates are refused."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import Project
from pipeline.errors import ConfigError
from pipeline.models import template
from tests.small_model import TEMPLATE, make_tokenizer

NO_STOP = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
REWRITES = "{% if messages|length > 1 %}CHAT {% endif %}" + NO_STOP
WITH_BOS = "{{ bos_token }}" + TEMPLATE


def supervised(tokenizer: Any, row: template.Encoded) -> str:
    return str(tokenizer.decode([token for token in row.labels if token != template.IGNORED]))


def test_only_the_answer_and_its_stop_token_are_supervised(tokenizer: Any) -> None:
    row = template.encode(tokenizer, "my card is lost", "close the card", 100)
    assert supervised(tokenizer, row) == "close the card<|end|>"
    assert tokenizer.decode(row.input_ids) == "<|user|>\nmy card is lost<|end|>\n<|assistant|>\nclose the card<|end|>"
    assert len(row.labels) == len(row.input_ids)
    assert not row.truncated


def test_the_question_is_seen_in_training_as_it_is_asked(tokenizer: Any) -> None:
    row = template.encode(tokenizer, "lost card", "close it", 100)
    asked = template.chat_prompt(tokenizer, [{"role": "user", "content": "lost card"}])
    assert row.input_ids[: len(asked)] == asked
    assert all(label == template.IGNORED for label in row.labels[: len(asked)])
    assert row.labels[len(asked)] == row.input_ids[len(asked)]


def test_a_template_without_a_stop_token_gets_eos() -> None:
    tokenizer = make_tokenizer(NO_STOP)
    row = template.encode(tokenizer, "lost card", "close it", 100)
    assert row.labels[-1] == tokenizer.eos_token_id
    assert supervised(tokenizer, row) == "close it\n</s>"


def test_bos_comes_from_the_template_alone() -> None:
    for text, count in ((WITH_BOS, 1), (TEMPLATE, 0)):
        tokenizer = make_tokenizer(text)
        ids = template.encode(tokenizer, "lost card", "close it", 100).input_ids
        assert ids.count(tokenizer.bos_token_id) == count
        asked = template.chat_prompt(tokenizer, [{"role": "user", "content": "lost card"}])
        assert asked.count(tokenizer.bos_token_id) == count


def test_long_rows_are_cut_on_the_right_and_say_so(tokenizer: Any) -> None:
    whole = template.encode(tokenizer, "lost card", "close it now " * 20, 1000)
    cut = template.encode(tokenizer, "lost card", "close it now " * 20, 20)
    assert cut.truncated
    assert cut.input_ids == whole.input_ids[:20]
    gone = template.encode(tokenizer, "lost card " * 50, "close it", 20)
    assert gone.truncated
    assert set(gone.labels) == {template.IGNORED}


def test_a_batch_is_its_rows(tokenizer: Any) -> None:
    prompts, responses = ["lost card", "äöü € 漢字 \u2028 x", ""], ["close it", "ß " * 9, "y"]
    rows = template.encode_batch(tokenizer, prompts, responses, 90)
    assert rows == [template.encode(tokenizer, p, r, 90) for p, r in zip(prompts, responses, strict=True)]
    assert supervised(tokenizer, rows[1]) == "ß " * 9 + "<|end|>"
    assert template.encode_batch(tokenizer, [], [], 50) == []


def test_a_template_that_rewrites_the_question_is_refused() -> None:
    with pytest.raises(ConfigError, match="renders a question differently"):
        template.encode(make_tokenizer(REWRITES), "a", "b", 50)


def test_a_model_without_template_needs_a_file(make_project: Any, tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="name a Jinja file as `chat_template`, or `default`"):
        template.prepare_tokenizer(make_tokenizer(None), make_project().chat_template)
    with pytest.raises(ConfigError, match="cannot read"):
        template.prepare_tokenizer(
            make_tokenizer(None), make_project(chat_template=str(tmp_path / "none.jinja")).chat_template
        )
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    prepared = template.prepare_tokenizer(
        make_tokenizer(None), make_project(chat_template=str(tmp_path / "chat.jinja")).chat_template
    )
    assert template.template_sha256(prepared) == template.template_sha256(make_tokenizer())


@pytest.mark.parametrize("pad", [None, "</s>", "<|end|>"])
def test_pad_is_never_a_stop_token(make_project: Any, pad: str | None) -> None:
    tokenizer = make_tokenizer()
    tokenizer.pad_token = pad
    project: Project = make_project()
    prepared = template.prepare_tokenizer(tokenizer, project.chat_template)
    assert prepared.pad_token == "<pad>"
    assert prepared.padding_side == "left"


def test_stop_ids_are_the_templates_the_tokenizers_and_the_models(tokenizer: Any) -> None:
    class Generation:
        eos_token_id = 9

    assert template.stop_ids(tokenizer, Generation()) == sorted(
        [9, tokenizer.eos_token_id, template.stop_token(tokenizer).id]
    )
    assert template.stop_token(tokenizer).text == "<|end|>"
