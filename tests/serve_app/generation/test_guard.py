"""The guard on the way in and out; on a stream it sends what it would send of the whole answer."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from pipeline.config import Project
from serve_app import errors
from serve_app.generation.guard import CONTEXT, HOLD, Guard
from serve_app.http import gateway
from tests.serve_app.client import CHAT, KEYRING, SETTINGS, TEXT, connect

IBAN = "DE89 3704 0044 0532 0130 00"
ANSWER = (
    f"Dear customer, we have sent the money to {IBAN} as you wished. Write to anna.schmidt@example.org or call "
    "+49 30 901820 if it is not there by Friday. The card 4111 1111 1111 1111 stays blocked until then, and the old "
    f"account {IBAN} is closed.\nKind regards,\nthe support team"
)
SECRETS = (
    "Your password is Sommer2026! and the PIN is 4711. The parcel goes to Am Alten Markt 3, 4. OG links, 50667 Köln, "
    "and the address is anna&#64;firma.local. Use https://app.example.com/reset/9f8c2d7ab31e44f0k7Q to log in, with\n"
    "Authorization: Bearer 9f8c2d7ab31e44f0k7Q9f8c2d7ab31e44f0k7Q\n-----BEGIN PRIVATE KEY-----\n"
    + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n" * 8
    + "-----END PRIVATE KEY-----\nwhich you must keep, and which we will never ask for on the telephone. Kind regards."
)
SHORT = f"The money went to {IBAN} as you wished."
ABUSE = "You are a stupid idiot and a disgusting piece of trash, shut up! "


def make(**settings: str) -> Guard:
    return Guard(Project.model_validate({"name": "g", "base_model": "tiny-base", "serve": {"guard": settings}}))


def streamed(guard: Guard, pieces: list[str]) -> tuple[list[str], bool]:
    async def go() -> tuple[list[str], bool]:
        out = guard.outbound()
        assert out is not None
        sent = [await out.push(piece, last=False) for piece in pieces]
        return [*sent, await out.push("", last=True)], out.refused

    return asyncio.run(go())


def cut_up(text: str, seed: int) -> list[str]:
    draw, pieces = random.Random(seed), []
    while text:
        size = draw.choice([1, 2, 5, 17, 60])
        pieces.append(text[:size])
        text = text[size:]
    return pieces


@pytest.fixture(scope="module")
def redacting() -> Guard:
    return make(pii_in="redact", pii_out="redact")


@pytest.mark.parametrize("seed", range(12))
def test_a_stream_is_redacted_like_the_whole(redacting: Guard, seed: int) -> None:
    (findings,) = redacting.find([ANSWER])
    expected = redacting.replace(ANSWER, findings)
    assert "<IBAN_CODE>" in expected
    assert "4111" not in expected
    sent, refused = streamed(redacting, cut_up(ANSWER, seed))
    assert "".join(sent) == expected
    assert not refused


@pytest.mark.parametrize("seed", range(4))
def test_secrets_are_redacted_in_a_stream_as_in_the_whole(redacting: Guard, seed: int) -> None:
    expected = redacting.replace(SECRETS, redacting.find([SECRETS])[0])
    for kind in ("PASSWORD", "PIN", "STREET_ADDRESS", "EMAIL_ADDRESS", "URL_CREDENTIALS", "API_KEY", "PRIVATE_KEY"):
        assert f"<{kind}>" in expected
    assert "MIIE" not in expected
    sent, _ = streamed(redacting, cut_up(SECRETS, seed))
    assert "".join(sent) == expected


def test_a_stream_does_not_wait_for_its_end(redacting: Guard) -> None:
    words = [f"word{number} " for number in range(100)]
    sent, _ = streamed(redacting, words)
    given = shown = 0
    for piece, word in zip(sent[:-1], words, strict=True):
        given, shown = given + len(word), shown + len(piece)
        assert given - shown <= HOLD + len(word) + 1


def test_what_has_no_spaces_is_not_held_for_ever(redacting: Guard) -> None:
    sent, _ = streamed(redacting, ["x" * 500] * 12)
    assert "".join(sent) == "x" * 6000
    assert sum(map(len, sent[:-1])) > 3000


def test_marking_changes_nothing_and_counts() -> None:
    guard = make(pii_out="mark")
    sent, refused = streamed(guard, cut_up(ANSWER, 1))
    assert "".join(sent) == ANSWER
    assert not refused
    assert guard.finding_counts[("out", "IBAN_CODE", "mark")] == 2
    assert not guard.rewrites


def test_refusing_personal_data_ends_the_answer_before_it() -> None:
    guard = make(pii_out="refuse")
    sent, refused = streamed(guard, cut_up(ANSWER, 2))
    assert refused
    assert "".join(sent) == ANSWER[: ANSWER.index("DE89")]
    assert guard.rewrites


def test_refusing_abuse_ends_the_answer() -> None:
    guard = make(toxicity_out="refuse")
    polite = "Thank you for your message, we have looked into your account and the card. " * 3
    sent, refused = streamed(guard, cut_up(polite + ABUSE + polite, 3))
    assert refused
    assert "idiot" not in "".join(sent)
    assert "".join(sent).startswith("Thank you")
    clean, refused = streamed(guard, cut_up(polite, 4))
    assert "".join(clean) == polite
    assert not refused


def test_marked_abuse_is_sent_at_once_and_counted_once() -> None:
    guard = make(toxicity_out="mark")
    sent, refused = streamed(guard, [ABUSE, ABUSE])
    assert sent[:2] == [ABUSE, ABUSE]
    assert not refused
    assert guard.finding_counts[("out", "TOXICITY", "mark")] == 1


def test_questions_are_redacted_marked_or_refused(redacting: Guard) -> None:
    question = f"Where is my money? My account is {IBAN}."
    (shown,) = asyncio.run(redacting.inbound([question]))
    assert shown == "Where is my money? My account is <IBAN_CODE>."
    marking, refusing = make(pii_in="mark"), make(pii_in="refuse", toxicity_in="refuse")
    assert asyncio.run(marking.inbound([question])) == [question]
    assert marking.finding_counts == {("in", "IBAN_CODE", "mark"): 1}
    for text, kind in ((question, "IBAN_CODE"), (ABUSE, "abusive text")):
        with pytest.raises(errors.ApiError, match=kind) as caught:
            asyncio.run(refusing.inbound(["Hello", text]))
        assert caught.value.status == 400
        assert "DE89" not in str(caught.value.envelope)
    assert asyncio.run(refusing.inbound(["Hello there", ""])) == ["Hello there", ""]


def test_off_looks_at_nothing() -> None:
    guard = make()
    assert guard.outbound() is None
    assert asyncio.run(guard.inbound([IBAN])) == [IBAN]
    assert not guard.rewrites


def test_the_context_is_long_enough_for_the_longest_pattern() -> None:
    assert min(HOLD, CONTEXT) > len("MT84 MALT 0110 0001 2345 MTLC AST0 01S")  # Malta's IBAN, the longest but one


def ask(engine: Any, guard: Guard, path: str, **body: Any) -> Any:
    """One request to a gateway with a guard."""

    async def session() -> Any:
        app = gateway.build(engine, SETTINGS, KEYRING, guard=guard)
        async with connect(app) as client:
            return await client.post(path, json={"model": "tiny", **body})

    return asyncio.run(session())


def said(response: Any) -> tuple[str, set[str | None]]:
    """The text and the finish reasons of a stream."""
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(c["delta"].get("content") or "" for c in choices), {c["finish_reason"] for c in choices} - {None}


QUESTION = [{"role": "user", "content": f"My account is {IBAN}."}]


@pytest.mark.parametrize("stream", [False, True])
def test_over_http_both_directions_are_redacted(scripted: Any, redacting: Guard, stream: bool) -> None:
    engine = scripted(f"The account {IBAN} is closed.")
    response = ask(engine, redacting, CHAT, messages=QUESTION, stream=stream)
    assert response.status_code == 200
    text = said(response)[0] if stream else response.json()["choices"][0]["message"]["content"]
    assert text == "The account <IBAN_CODE> is closed."
    prompt = engine.requests[0].prompt.messages[0]["content"]
    assert prompt == "My account is <IBAN_CODE>."


@pytest.mark.parametrize("stream", [False, True])
def test_over_http_a_refused_answer_ends_with_content_filter(scripted: Any, stream: bool) -> None:
    response = ask(scripted(SHORT), make(pii_out="refuse"), CHAT, messages=QUESTION, stream=stream)
    if stream:
        text, reasons = said(response)
    else:
        (choice,) = response.json()["choices"]
        text, reasons = choice["message"]["content"], {choice["finish_reason"]}
    assert text == SHORT[: SHORT.index("DE89")]
    assert reasons == {"content_filter"}


def test_over_http_a_refused_question_is_a_400(scripted: Any) -> None:
    engine = scripted("Hello")
    guard = make(pii_in="refuse")
    ids = engine.codec.encode(f"My account is {IBAN}")
    for path, body in (
        (CHAT, {"messages": QUESTION}),
        (TEXT, {"prompt": QUESTION[0]["content"]}),
        (TEXT, {"prompt": ids}),
    ):
        response = ask(engine, guard, path, **body)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "content_filter"
        assert "DE89" not in response.text
    assert not engine.requests


def test_findings_are_metrics(scripted: Any) -> None:
    guard = make(pii_in="mark", pii_out="refuse")

    async def session() -> str:
        async with connect(gateway.build(scripted(SHORT), SETTINGS, KEYRING, guard=guard)) as client:
            await client.post(CHAT, json={"model": "tiny", "messages": QUESTION})
            return (await client.get("/metrics")).text

    text = asyncio.run(session())
    assert 'solotune:guard_findings_total{action="mark",direction="in",type="IBAN_CODE"} 1.0' in text
    assert 'solotune:guard_findings_total{action="refuse",direction="out",type="IBAN_CODE"} 1.0' in text
    assert 'finished_reason="content_filter",model_name="tiny"} 1.0' in text


def test_tokens_of_an_answer_that_may_be_changed_are_not_told(scripted: Any, redacting: Guard) -> None:
    response = ask(scripted("Hello"), redacting, CHAT, messages=QUESTION, logprobs=True)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "logprobs"
