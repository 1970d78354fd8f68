"""Templates that training and serving cannot share: mended where the right thing is clear, refused where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.models import prompt_check, template
from tests.models.test_template_presets import byte_level, sentencepiece

TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = "{% for m in messages %}" + TURN + "{% endfor %}" + ASK
SPOKEN = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }} {% else %}"
    "ASSISTANT: {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
JOINED = (
    "{% for m in messages %}{% set c = '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' %}"
    "{% if loop.first %}{% set c = bos_token + c %}{% endif %}{{ c }}{% endfor %}"
)
LINES = (
    "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### assistant:\n{% endif %}"
)
EMPTY = "<think>\n\n</think>\n\n"
USER = "<|im_start|>user\nlost card<|im_end|>\n"
ASKED, ANSWERED = USER + "<|im_start|>assistant\n", "close it<|im_end|>"


def chatml() -> Any:
    return byte_level(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>", pad="<|endoftext|>")


def newlines() -> Any:
    tokenizer = byte_level(("<|bos|>", "<|eot|>", "<|pad|>"), "<|eot|>", "<|bos|>", "<|pad|>")
    tokenizer.add_tokens(["\n\n", "\n"])
    return tokenizer


def plain() -> Any:
    return sentencepiece(pad="<unk>")


MENDED: dict[str, tuple[Any, str, str, str]] = {  # tokenizer, template, what is asked, what is learnt
    "nothing is wrong": (chatml, CHATML, ASKED, ANSWERED),
    "a blank ends the generation prompt": (plain, SPOKEN, "<s> USER: lost card ASSISTANT:", "close it</s>"),
    "a blank ends it, byte level": (
        lambda: byte_level(("<|bos|>", "<|eot|>", "<|pad|>"), "<|eot|>", "<|bos|>", "<|pad|>"),
        SPOKEN,
        "<|bos|>USER: lost card ASSISTANT:",
        " close it<|eot|>",
    ),
    "add_generation_prompt is ignored": (chatml, CHATML.removesuffix(ASK), ASKED, ANSWERED),
    "serving alone opens a thinking block": (
        chatml,
        CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif"),
        ASKED,
        ANSWERED,
    ),
    "serving alone has an empty thinking block": (
        chatml,
        CHATML.replace("assistant\n{% endif", f"assistant\n{EMPTY}{{% endif"),
        ASKED + EMPTY,
        ANSWERED,
    ),
    "the date is told": (
        chatml,
        "<|im_start|>system\nIt is {{ strftime_now('%A, %-d %B %Y (%Y-%m-%d)') }}<|im_end|>\n" + CHATML,
        "<|im_start|>system\nIt is Friday, 26 July 2024 (2024-07-26)<|im_end|>\n" + ASKED,
        ANSWERED,
    ),
    "an answer is ended twice": (
        chatml,
        CHATML.replace("{% endfor", "{{ '<|im_end|>' if m.role == 'assistant' }}{% endfor"),
        ASKED,
        ANSWERED,
    ),
    "the end marker is no token": (plain, CHATML, ASKED, "close it</s>"),
    "a line break is an added token": (newlines, LINES, "### user:\nlost card\n### assistant:\n", "close it\n<|eot|>"),
    "bos_token is joined and unset": (chatml, JOINED + ASK, ASKED, ANSWERED),
    "tools are counted": (chatml, "{% if tools | length > 0 %}{{ tools }}{% endif %}" + CHATML, ASKED, ANSWERED),
    "a conversation must end with a question": (
        chatml,
        "{% if messages[-1].role != 'user' %}{{ raise_exception('ask') }}{% endif %}" + CHATML,
        ASKED,
        ANSWERED,
    ),
}


@pytest.mark.parametrize("case", MENDED)
def test_serving_and_training_share_the_template(case: str) -> None:
    make, text, asked, learnt = MENDED[case]
    tokenizer = make()
    tokenizer.chat_template = text
    template.prepare_tokenizer(tokenizer, None)
    prompt_check.check(tokenizer)
    ids = template.chat_prompt(tokenizer, [{"role": "user", "content": "lost card"}])
    assert tokenizer.decode(ids) == asked
    row = template.encode(tokenizer, "lost card", "close it", 500)
    assert tokenizer.decode([label for label in row.labels if label != template.IGNORED]) == learnt
    again = template.template_text(tokenizer)
    assert template.template_text(template.prepare_tokenizer(tokenizer, None)) == again


@pytest.mark.parametrize("case", MENDED)
def test_a_conversation_is_written_turn_by_turn(case: str) -> None:
    make, text, _, _ = MENDED[case]
    tokenizer = make()
    tokenizer.chat_template = text
    template.prepare_tokenizer(tokenizer, None)
    turns = [("system", "be kind"), ("user", "lost card"), ("assistant", "close it"), ("user", "what fee")]
    messages = [{"role": role, "content": content} for role, content in turns]
    whole = template.chat_text(tokenizer, messages)
    places = [whole.index(content) for role, content in turns if role != "system" or "be kind" in whole]
    assert places == sorted(places)
    earlier = template._render(tokenizer, messages[:3])
    assert whole.replace(EMPTY, "").startswith(earlier.replace(EMPTY, ""))


def test_a_mended_template_keeps_the_system_message_and_its_default() -> None:
    tokenizer = chatml()
    default = "{% if messages[0].role != 'system' %}<|im_start|>system\nhelp<|im_end|>\n{% endif %}"
    tokenizer.chat_template = default + CHATML.removesuffix(ASK)
    template.prepare_tokenizer(tokenizer, None)
    question = {"role": "user", "content": "lost card"}
    assert template.chat_text(tokenizer, [question]) == "<|im_start|>system\nhelp<|im_end|>\n" + ASKED
    system = {"role": "system", "content": "be kind"}
    assert template.chat_text(tokenizer, [system, question]) == "<|im_start|>system\nbe kind<|im_end|>\n" + ASKED


REFUSED = {
    "{% for m in messages %}{{ m.content }{% endfor %}": "fails with TemplateSyntaxError",
    "{% for m in messages %}{{ m.content | stripp }}{% endfor %}": "fails with TemplateAssertionError",
    "{% for m in messages %}{{ m.name.first }}{% endfor %}": "fails with UndefinedError",
    "{% for m in messages %}{{ m.content + 1 }}{% endfor %}": "fails with TypeError",
    "{% for m in messages %}{{ 1 / 0 }}{% endfor %}": "fails with ZeroDivisionError",
    "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}": "does not write what the",
    CHATML.replace("m.content }}", "m.content }}{% if loop.last and m.role == 'user' %} /no_think{% endif %}"): (
        "renders a question differently"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_mended_is_one_sentence(text: str) -> None:
    tokenizer = chatml()
    tokenizer.chat_template = text
    with pytest.raises(ConfigError, match=f"^the chat template of .+ cannot be used: it {REFUSED[text]}"):
        template.prepare_tokenizer(tokenizer, None)


def test_an_end_marker_that_is_no_token_needs_an_eos() -> None:
    tokenizer = chatml()
    tokenizer.eos_token, tokenizer.chat_template = None, CHATML.replace("im_", "turn_")
    with pytest.raises(ConfigError, match="ends an answer with a text that is no token"):
        template.prepare_tokenizer(tokenizer, None)


def test_tokens_that_do_not_meet_are_one_sentence() -> None:
    from tokenizers import normalizers

    tokenizer = chatml()
    tokenizer.chat_template = CHATML
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    template.prepare_tokenizer(tokenizer, None)
    with pytest.raises(ConfigError, match="do not fit together"):
        prompt_check.check(tokenizer)
