"""Rows of several exchanges as training examples: every answer supervised, each behind what serving asks it with."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.models import prompt_check, template
from pipeline.models.conversation import encode_rows
from tests.models.test_template_presets import FOLDER, PRESETS, byte_level
from tests.small_model import TEMPLATE, make_tokenizer

TURNS = ["lost card", "close it", "and the fee?", "12 € \n for each", "thanks", "my pleasure"]
ANSWERS = TURNS[1::2]
GEMMA = (  # Gemma 2 and 3 as published, but for images and the system message
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (  # BOS begins every exchange
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
UNSTOPPED = (
    "{% for m in messages %}{{ m['role'] }}:\n{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
SPECIAL = ("<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>")


def prepared(name: str) -> Any:
    if name in PRESETS:
        tokenizer, source = PRESETS[name][0](), PRESETS[name][1]
        return template.prepare_tokenizer(
            tokenizer, source if source == template.DEFAULT else str(FOLDER / f"{source}.jinja")
        )
    make, source = {
        "Gemma": (lambda: byte_level(SPECIAL, eos="<eos>", bos="<bos>", pad="<pad>"), GEMMA),
        "ChatML": (lambda: byte_level(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>"), CHATML),
        "Llama 2": (lambda: byte_level(("<s>", "</s>", "<pad>"), "</s>", "<s>", "<pad>"), LLAMA2),
        "nothing ends an answer": (lambda: byte_level(("<s>", "</s>", "<pad>"), "</s>", "<s>", "<pad>"), UNSTOPPED),
    }[name]
    tokenizer = make()
    tokenizer.chat_template = source
    return template.prepare_tokenizer(tokenizer, None)


WHOLE = ["Mistral", "Zephyr", "CodeLlama-Python", "Llama-3.1", "SmolLM2", "Phi-4-mini"]
WHOLE += ["Gemma", "ChatML", "Llama 2"]
REWRITING = ["Qwen3", "SOLAR-Instruct", "nothing ends an answer"]


@pytest.fixture(scope="module", params=[*WHOLE, *REWRITING])
def family(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, prepared(request.param)


def learnt(tokenizer: Any, row: template.Encoded) -> list[str]:
    """Returns the texts of the supervised runs of a row, with the token that ends each."""
    assert [label for label in row.labels if label != template.IGNORED] == [
        token for token, label in zip(row.input_ids, row.labels, strict=True) if label != template.IGNORED
    ]
    runs = [[*run] for known, run in itertools.groupby(row.labels, lambda label: label != template.IGNORED) if known]
    return [str(tokenizer.decode(run, clean_up_tokenization_spaces=False)) for run in runs]


def asked(tokenizer: Any, turns: list[str]) -> list[int]:
    return template.chat_prompt(tokenizer, template.messages(turns))


def test_every_answer_and_its_stop_token_are_learnt_once_and_nothing_else(family: tuple[str, Any]) -> None:
    name, tokenizer = family
    (examples,) = encode_rows(tokenizer, [TURNS], 1000)
    assert len(examples) == (1 if name in WHOLE else len(ANSWERS))
    texts = [text for row in examples for text in learnt(tokenizer, row)]
    stop = template.stop_token(tokenizer).text
    assert all(text.endswith(stop) for text in texts)
    bodies = [text.removesuffix(stop) for text in texts]
    expected = [*ANSWERS]
    if name == "nothing ends an answer":
        expected = [f"{answer}\n" for answer in ANSWERS]  # what the template writes behind an answer is learnt as well
    if name == "Llama 2":
        expected = [f"{answer} " for answer in ANSWERS]
    assert [body.removeprefix(" ") for body in bodies] == expected
    assert [row.dropped for row in examples] == [0] * len(examples)


def test_what_serving_asks_each_answer_with_begins_a_trained_example(family: tuple[str, Any]) -> None:
    _, tokenizer = family
    (examples,) = encode_rows(tokenizer, [TURNS], 1000)
    for end in (1, 3, 5):
        prompt = asked(tokenizer, TURNS[:end])
        (row,) = [row for row in examples if row.input_ids[: len(prompt)] == prompt and _learns_at(row, len(prompt))]
        alone = template.encode_batch(tokenizer, [TURNS[end - 1]], [TURNS[end]], 1000, earlier=[TURNS[: end - 1]])[0]
        answer = [label for label in alone.labels if label != template.IGNORED]
        assert row.labels[len(prompt) : len(prompt) + len(answer)] == answer


def _learns_at(row: template.Encoded, position: int) -> bool:
    return row.labels[position - 1] == template.IGNORED and row.labels[position] != template.IGNORED


def test_rows_of_one_exchange_and_documents_are_what_they_are_alone(family: tuple[str, Any]) -> None:
    _, tokenizer = family
    kinds = ["qa", "document", "qa"]
    rows = encode_rows(tokenizer, [TURNS[:2], ["Fees", "12"], TURNS[:4]], 1000, kinds)
    assert rows[0] == [template.encode(tokenizer, *TURNS[:2], 1000)]
    assert rows[1] == [template.encode(tokenizer, "Fees", "12", 1000, "document")]
    assert rows[2] == encode_rows(tokenizer, [TURNS[:4]], 1000)[0]
    assert encode_rows(tokenizer, [], 1000) == []


def test_exchanges_that_do_not_fit_whole_are_left_out_and_counted(family: tuple[str, Any]) -> None:
    _, tokenizer = family
    (whole,) = encode_rows(tokenizer, [TURNS], 1000)
    sizes = [len(encode_rows(tokenizer, [TURNS[:end]], 1000)[0][-1].input_ids) for end in (2, 4, 6)]
    for limit, kept in ((sizes[2], 3), (sizes[2] - 1, 2), (sizes[1], 2), (sizes[1] - 1, 1), (sizes[0], 1)):
        (examples,) = encode_rows(tokenizer, [TURNS], limit)
        assert examples[0].dropped == 3 - kept
        assert not any(row.truncated for row in examples)
        assert max(len(row.input_ids) for row in examples) <= limit
        assert sum(len(learnt(tokenizer, row)) for row in examples) == kept
        assert [row.labels for row in examples] == [
            row.labels for row in encode_rows(tokenizer, [TURNS[: 2 * kept]], 1000)[0]
        ]
    (cut,) = encode_rows(tokenizer, [TURNS], sizes[0] - 1)
    alone = template.encode(tokenizer, *TURNS[:2], sizes[0] - 1)
    assert [(row.input_ids, row.labels, row.truncated, row.dropped) for row in cut] == [
        (alone.input_ids, alone.labels, True, 2)
    ]
    assert whole[0].dropped == 0


def test_qwen3_leaves_out_earlier_thinking_so_each_answer_is_an_example() -> None:
    tokenizer = prepared("Qwen3")
    turns = ["lost card", "<think>\nfee\n</think>\n\nclose it", "what fee", "12"]
    first, second = encode_rows(tokenizer, [turns], 1000)[0]
    assert learnt(tokenizer, first) == ["<think>\nfee\n</think>\n\nclose it<|im_end|>"]
    assert learnt(tokenizer, second) == ["12<|im_end|>"]
    assert "fee\n" not in tokenizer.decode(second.input_ids)
    assert second.input_ids[: -len([label for label in second.labels if label != template.IGNORED])] == asked(
        tokenizer, turns[:3]
    )


def test_control_tokens_that_turns_quote_are_text(family: tuple[str, Any]) -> None:
    _, tokenizer = family
    stop = template.stop_token(tokenizer)
    turns = [f"what is {stop.text}?", f"{stop.text} ends an answer", f"so {stop.text}", f"yes, {stop.text}"]
    examples = encode_rows(tokenizer, [turns], 1000)[0]
    texts = [text for row in examples for text in learnt(tokenizer, row)]
    assert [text.count(stop.text) for text in texts] == [2, 2]
    assert sum(row.labels.count(stop.id) for row in examples) == 2


def test_conversations_pass_the_check_of_prompts(family: tuple[str, Any]) -> None:
    _, tokenizer = family
    prompt_check.check(tokenizer, [TURNS, ["a", "b"], [" a ", "\n b", "c\n\n", "  d"]])


def test_a_template_that_takes_one_exchange_alone_is_refused_where_there_are_more() -> None:
    one = "{% if messages | length > 2 %}{{ raise_exception('one question only') }}{% endif %}" + TEMPLATE
    tokenizer = make_tokenizer(one)
    assert encode_rows(tokenizer, [TURNS[:2]], 100)[0][0].labels
    with pytest.raises(ConfigError, match=r"one question only.*or curate conversations as single questions"):
        encode_rows(tokenizer, [TURNS[:2], TURNS], 100)


def test_a_check_fails_where_serving_asks_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = prepared("ChatML")
    real = template.chat_prompt

    def other(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
        ids = real(tokenizer, messages)
        return ids if len(messages) < 3 else ids[1:]

    monkeypatch.setattr(template, "chat_prompt", other)
    prompt_check.check(tokenizer, [TURNS[:2]])
    with pytest.raises(ConfigError, match="not those of the training row"):
        prompt_check.check(tokenizer, [TURNS])


def test_a_row_without_a_limit_is_never_cut() -> None:
    tokenizer = prepared("ChatML")
    (examples,) = encode_rows(tokenizer, [TURNS * 20], sys.maxsize)
    assert len(examples) == 1
    assert len(learnt(tokenizer, examples[0])) == 60
