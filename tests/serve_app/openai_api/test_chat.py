"""What a request may hold: OpenAI's arguments, refused where they would be ignored to the user's surprise."""

from __future__ import annotations

import json
from inspect import get_annotations
from typing import Any

import pytest
from openai.types import completion_create_params as text_arguments
from openai.types.chat import completion_create_params as chat_arguments
from pydantic import ValidationError

from serve_app import errors
from serve_app.openai_api.chat import ChatRequest
from serve_app.openai_api.completions import CompletionRequest
from serve_app.openai_api.options import Options

GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def refusal(**changes: Any) -> dict[str, Any]:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate_json(json.dumps({**GOOD, **changes}))
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
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": None}}, "moderation": None},
        {"verbosity": "medium", "reasoning_effort": "high", "prompt_cache_options": {"a": 1}, "prompt_cache_key": "k"},
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
        {"verbosity": "low"},
        {"moderation": {"model": "m"}},
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
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "text", "json_schema": {"name": "a"}}}, "response_format.json_schema"),
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
        {"messages": [{"role": "user", "content": [{"type": secret, secret: secret}]}]},
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


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "user", "content": "a", "id": 7, "metadata": None, "options": [{"value": 1}]}, "a"),  # Gradio's
        ({"role": "assistant", "content": "a", "parsed": None, "tool_calls": None, "function_call": None}, "a"),
        ({"role": "assistant", "content": "a", "reasoning_content": "b", "provider_specific_fields": {"c": 1}}, "a"),
        ({"role": "assistant", "content": "a", "annotations": [{"type": "url_citation"}], "audio": None}, "a"),
        ({"role": "user", "content": "a", "name": None, "tool_call_id": None, "refusal": None}, "a"),
        ({"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}, "a"),
        ({"role": "user", "content": [{"type": "text", "text": "a", "refusal": None}]}, "a"),
        ({"role": "user", "content": []}, ""),
        ({"role": "assistant"}, ""),
        ({"role": "assistant", "content": None}, ""),
        ({"role": "assistant", "content": None, "refusal": "b"}, "b"),
        ({"role": "assistant", "content": "a", "refusal": "b"}, "a"),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "b"}]}, "b"),
    ],
)
def test_a_message_is_taken_as_clients_send_it_back(message: dict[str, Any], said: str) -> None:
    assert ChatRequest.model_validate({**GOOD, "messages": [message]}).texts == [said]


def test_the_body_itself_stays_strict() -> None:
    for name in ("parsed", "metadat", "a[b", "str"):
        assert refusal(**{name: None})["code"] == "unknown_parameter"
    assert refusal(stream_options={"usage": True})["param"] == "stream_options.usage"
    assert refusal(response_format={"type": "text", "strict": True})["code"] == "unknown_parameter"


@pytest.mark.parametrize("name", ["model", "messages"])
def test_null_is_as_good_as_absent(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({key: value for key, value in GOOD.items() if key != name})
    absent = errors.of_validation(caught.value.errors()).envelope["error"]
    assert absent["code"] == "missing_required_parameter"
    assert refusal(**{name: None}) == absent


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 3}, "Invalid value for temperature: it must be less than or equal to 2."),
        ({"stop": ["a"] * 5}, "Invalid value for stop: it must have at most 4 items."),
        ({"stop": 5}, "Invalid value for stop: it must be a string or a list."),
        ({"stop": ["a", 5]}, "Invalid value for stop.1: it must be a valid string."),
        ({"stop": [None]}, "Invalid value for stop.0: it must be a valid string."),
        ({"stop": ""}, "Invalid value for stop: a stop string must not be empty."),
        ({"messages": []}, "Invalid value for messages: it must have at least 1 item."),
        ({"messages": [{"role": "user"}]}, "Missing required parameter: messages.0.content"),
        (
            {"messages": [{"role": "user", "content": [5]}]},
            "Invalid value for messages.0.content.0: it must be an object.",
        ),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "Invalid value for messages.0.content: it must be a string or a list.",
        ),
        ({"tools": [{}]}, "tools: not supported by this service, which takes null or [] alone: leave it out."),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content: this service takes text alone: only content parts of the type text.",
        ),
    ],
)
def test_a_refusal_names_the_argument_the_branch_that_was_meant_and_the_limit(
    changes: dict[str, Any], message: str
) -> None:
    assert refusal(**changes)["message"] == message


@pytest.mark.parametrize(
    ("changes", "param", "why"),
    [
        ({"prompt": [-1]}, "prompt.0", "it must be greater than or equal to 0"),
        ({"prompt": []}, "prompt", "it must have at least 1 item"),
        ({"prompt": ["a", [1]]}, "prompt.1", "it must be a valid string"),
        ({"prompt": [[1], [-2]]}, "prompt.1.0", "it must be greater than or equal to 0"),
        ({"prompt": {}}, "prompt", "it must be a string or a list"),
        ({"best_of": 2}, "best_of", "it must be n or left out"),
        ({"echo": True, "logprobs": 1}, "logprobs", "does not go with echo"),
    ],
)
def test_a_completion_s_refusal_does_too(changes: dict[str, Any], param: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CompletionRequest.model_validate({"model": "m", "prompt": "a", **changes})
    error = errors.of_validation(caught.value.errors()).envelope["error"]
    assert error["param"] == param
    assert error["message"].startswith(f"Invalid value for {param}: ")
    assert why in error["message"]


@pytest.mark.parametrize(("api", "request_model"), [(chat_arguments, ChatRequest), (text_arguments, CompletionRequest)])
def test_every_argument_of_openai_s_own_client_is_known(api: Any, request_model: type[Options]) -> None:
    """Fails when a newer client has an argument on which nothing was decided here: taken, neutral, or ignored."""
    names = get_annotations(api.CompletionCreateParamsBase) | get_annotations(api.CompletionCreateParamsStreaming)
    assert set(names) - set(request_model.model_fields) == set()


def test_max_completion_tokens_wins_over_the_older_name() -> None:
    assert ChatRequest.model_validate({**GOOD, "max_tokens": 5, "max_completion_tokens": 7}).limit[1] == 7
    assert ChatRequest.model_validate({**GOOD, "max_tokens": 5}).limit == ("max_tokens", 5)
    assert ChatRequest.model_validate(GOOD).limit[1] is None
