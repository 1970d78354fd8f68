"""What a request may hold: OpenAI's arguments, refused where they would be ignored to the user's surprise."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from serve_app import errors
from serve_app.openai_api.chat import ChatRequest

GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def refusal(**changes: Any) -> dict[str, Any]:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({**GOOD, **changes})
    envelope: dict[str, Any] = errors.of_validation(caught.value.errors()).envelope["error"]
    return envelope


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 1, "logprobs": False, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "tools": []},
        {"response_format": {"type": "text"}, "user": "u", "metadata": {"a": "b"}, "store": False, "seed": -5},
        {"temperature": 0, "top_p": 1, "stop": None, "max_tokens": None, "stream": None},
        {"n": 3, "logprobs": True, "top_logprobs": 20, "frequency_penalty": -2, "presence_penalty": 2.0},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": True}}},
        {"stop": ["a", "b", "c", "d"], "stream": True, "stream_options": {"include_usage": True}},
    ],
)
def test_what_changes_nothing_or_works_is_accepted(changes: dict[str, Any]) -> None:
    ChatRequest.model_validate({**GOOD, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"logit_bias": {"5": 1}},
        {"logit_bias": True},
        {"reasoning_effort": "high"},
        {"tools": [{"type": "function"}]},
        {"modalities": ["text", "audio"]},
    ],
)
def test_what_is_not_implemented_is_refused_by_name(changes: dict[str, Any]) -> None:
    error = refusal(**changes)
    assert error["code"] == "unsupported_parameter"
    assert error["param"] == next(iter(changes))


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"seed": True}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"stream": "yes"}, "stream"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(changes: dict[str, Any], param: str) -> None:
    assert refusal(**changes)["param"] == param


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "x", "tool_call_id": "1"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]},
    ],
)
def test_tools_and_images_are_refused_as_not_supported(message: dict[str, Any]) -> None:
    assert refusal(messages=[message])["code"] == "unsupported_parameter"


def test_no_word_of_the_request_gets_into_the_refusal() -> None:
    secret = "My card number is 4111"
    for changes in (
        {secret: 1},
        {"messages": [{"role": secret, "content": secret}]},
        {"messages": [{"role": "user", "content": secret, secret: secret}]},
        {"messages": secret},
        {"temperature": secret},
        {"stop": [secret] * 9},
        {"response_format": {"type": secret}},
    ):
        assert "card" not in str(refusal(**changes))
    assert refusal(top_k=4)["param"] == "top_k"


def test_messages_render_as_a_template_takes_them() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = ChatRequest.model_validate(
        {**GOOD, "messages": [{"role": "developer", "content": "rules"}, {"role": "user", "content": parts}]}
    )
    assert [message.rendered() for message in request.messages] == [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": "ab"},
    ]


def test_max_completion_tokens_wins_over_the_older_name() -> None:
    assert ChatRequest.model_validate({**GOOD, "max_tokens": 5, "max_completion_tokens": 7}).limit[1] == 7
    assert ChatRequest.model_validate({**GOOD, "max_tokens": 5}).limit == ("max_tokens", 5)
    assert ChatRequest.model_validate(GOOD).limit[1] is None
