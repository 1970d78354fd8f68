"""Requests that are wrong, by a seed: broken JSON, wrong types, places, sizes, headers, methods and paths.

Every generated request must be answered by a 4xx with the envelope. Texts in them hold `SENTINEL`, so that a test can
see that nothing of the request comes back.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

from tests.serve_app.client import ASK, CHAT, KEY, TEXT

SENTINEL = "zq~4111"  # no name of an argument: those are repeated in an error
WRONG: list[Any] = [
    *[None, True, False, 0, -1, 1.5, 1e308, -(2**63) - 1, 2**63, 10**400, "", SENTINEL, "\ud800", "\x00", "𝕏" * 3],
    *[[], [[]], [None], [SENTINEL], [{}], {}, {"a": SENTINEL}, {SENTINEL: {}}, [[[[[1]]]]], {"type": SENTINEL}],
]
# for each argument: the values of WRONG that it would take, by index or by test
TAKES: dict[str, Any] = {
    "messages": lambda _: False,
    "prompt": lambda value: (isinstance(value, str) and value not in ("", "\ud800")) or value == [SENTINEL],
    "model": lambda _: False,
    "temperature": lambda value: value is None or (_number(value) and 0 <= value <= 2),
    "top_p": lambda value: value is None or (_number(value) and 0 <= value <= 1),
    "seed": lambda value: value is None or (_whole(value) and -(2**63) <= value < 2**63),
    "max_tokens": lambda value: value is None,
    "n": lambda value: value is None,
    "stop": lambda value: (
        value is None or value == [] or (isinstance(value, str) and value not in ("", "\ud800")) or value == [SENTINEL]
    ),
    "frequency_penalty": lambda value: value is None or (_number(value) and -2 <= value <= 2),
    "presence_penalty": lambda value: value is None or (_number(value) and -2 <= value <= 2),
    "stream": lambda value: value is None or isinstance(value, bool),
    "stream_options": lambda value: value is None,
    "logit_bias": lambda value: value is None or value == {},
    "tools": lambda value: value is None or value == [],
    "tool_choice": lambda value: value is None,
    "response_format": lambda value: value is None,
    "modalities": lambda value: value is None,
    "top_logprobs": lambda value: value is None,
    "max_completion_tokens": lambda value: value is None,
}
CHAT_ONLY = {
    "messages",
    "tools",
    "tool_choice",
    "response_format",
    "modalities",
    "top_logprobs",
    "max_completion_tokens",
}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass
class Wrong:
    """One request that must be refused, and how it was made."""

    kind: str
    method: str = "POST"
    path: str = CHAT
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def base(draw: random.Random) -> tuple[str, dict[str, Any]]:
    if draw.random() < 0.6:
        return CHAT, {**ASK, "messages": [{"role": "user", "content": SENTINEL}]}
    return TEXT, {"model": ASK["model"], "prompt": SENTINEL}


def wrong(number: int, seed: int) -> Wrong:
    """Returns the request with this number."""
    draw = random.Random(f"{seed}:{number}")
    path, body = base(draw)
    made = draw.choice([argument, message, syntax, missing, unknown, limits, place, key])(draw, path, body)
    made.headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **made.headers}
    return made


def _post(kind: str, path: str, body: Any) -> Wrong:
    return Wrong(kind, path=path, body=json.dumps(body).encode())


def argument(draw: random.Random, path: str, body: dict[str, Any]) -> Wrong:
    """A value that the argument does not take."""
    foreign = CHAT_ONLY if path == TEXT else {"prompt"}
    names = [name for name in TAKES if name not in foreign]
    name = draw.choice(names)
    value = draw.choice([value for value in WRONG if not TAKES[name](value)])
    return _post(f"argument {name}", path, {**body, name: value})


def message(draw: random.Random, _: str, body: dict[str, Any]) -> Wrong:
    """A message, or a part of one, that is none."""
    good = {"role": "user", "content": SENTINEL}
    bad = draw.choice(
        [
            *WRONG,
            {"role": "user"},
            {"content": SENTINEL},
            {**good, "role": draw.choice([SENTINEL, "tool", "function", None, 5, ["user"]])},
            {**good, "content": draw.choice([None, 5, True, {}, [{}], [5], [{"type": "text"}], [[good]], "\udfff"])},
            {**good, "content": [{"type": draw.choice(["image_url", "input_audio", SENTINEL]), "text": SENTINEL}]},
            {**good, "content": [{"type": "text", "text": draw.choice([None, 5, [], "\ud83d"])}]},
            {**good, "name": draw.choice([5, [], {}])},
            {**good, "tool_calls": [{"id": SENTINEL}]},
            {**good, "refusal": draw.choice([5, [], {}])},
        ]
    )
    return _post("message", CHAT, {"model": ASK["model"], "messages": [good] * draw.randrange(2) + [bad]})


def syntax(draw: random.Random, path: str, body: dict[str, Any]) -> Wrong:
    """Bytes that are no JSON object."""
    whole = json.dumps(body).encode()
    cut = draw.randrange(1, len(whole))
    broken = draw.choice(
        [
            whole[:cut],
            whole[:cut] + b"\xff\xfe" + whole[cut:],
            whole + b"}",
            whole.replace(b":", b"", 1),
            whole.replace(b'"', b"'"),
            b"\xef\xbb\xbf\x00" + whole,
            b"",
            b"null",
            b"[]",
            b"17",
            b'"' + SENTINEL.encode() + b'"',
            b"[" * draw.choice([1, 1000, 100_000]),
            b'{"a":' * draw.choice([10, 100_000]),
            b'{"model": NaN}',
            b'{"seed": ' + b"9" * 5000 + b"}",
            draw.randbytes(draw.randrange(1, 200)),
            b"--x\r\nContent-Disposition: form-data\r\n\r\n1",
            b"model=tiny&prompt=x",
        ]
    )
    return Wrong("syntax", path=path, body=broken)


def missing(draw: random.Random, path: str, body: dict[str, Any]) -> Wrong:
    body.pop(draw.choice(sorted(body)))
    return _post("missing", path, body)


def unknown(draw: random.Random, path: str, body: dict[str, Any]) -> Wrong:
    """An argument that does not exist, or that belongs to the other API."""
    name = draw.choice([SENTINEL, "top_k", "Model", "messages ", "__proto__", "\x00", "a" * 300, "é", "min_p", "stop_"])
    return _post("unknown", path, {**body, name: draw.choice(WRONG)})


def limits(draw: random.Random, path: str, body: dict[str, Any]) -> Wrong:
    """Well-formed, but more than this service gives."""
    field_ = "messages" if path == CHAT else "prompt"
    long = SENTINEL * draw.choice([100, 20_000])
    changes: list[dict[str, Any]] = [
        {"max_tokens": draw.choice([101, 10**6, 2**31 - 1])},
        {"n": draw.choice([9, 128])},
        {field_: [{"role": "user", "content": long}] if path == CHAT else long},
        {field_: [{"role": "user", "content": ""}] * 500 if path == CHAT else [SENTINEL] * 500},
        {"stop": [SENTINEL] * draw.randrange(5, 50)},
        {"stream_options": {"include_usage": True}},
        {"model": draw.choice([SENTINEL, "gpt-4o", "TINY", "tiny ", "../tiny"])},
        {"user": "x" * (1 << 20)},
    ]
    return _post("limits", path, {**body, **draw.choice(changes)})


def place(draw: random.Random, path: str, body: dict[str, Any]) -> Wrong:
    """A wrong method or URL."""
    method = draw.choice(["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
    elsewhere = draw.choice(
        ["/", "/v1", "/v1/", f"/v1/{SENTINEL}", "/v1/models/%2e%2e%2fkeys.json", "/v1/models/..%2f..%2fetc%2fpasswd"]
    )
    elsewhere = draw.choice(
        [elsewhere, "/v1/embeddings", "/docs", path + "/x/", path.upper(), f"//v1//{SENTINEL}/", "/%00"]
    )
    sent = json.dumps(body).encode()
    if draw.random() < 0.5:
        return Wrong("method", method, path, sent)
    return Wrong("path", draw.choice(["GET", "POST"]), elsewhere, sent)


def key(draw: random.Random, path: str, body: dict[str, Any]) -> Wrong:
    """No key, a wrong one, or wrong other headers."""
    headers = draw.choice(
        [
            {"authorization": ""},
            {"authorization": KEY},
            {"authorization": f"Basic {KEY}"},
            {"authorization": f"Bearer {KEY}x"},
            {"authorization": f"Bearer {KEY[:-1]}"},
            {"authorization": f"Bearer {SENTINEL}"},
            {"authorization": "Bearer"},
            {"authorization": "Bearer " + "x" * 5000},
            {"content-type": "text/plain"},
            {"content-type": "multipart/form-data; boundary=x"},
            {"content-encoding": "gzip", "content-type": "application/octet-stream"},
            {"content-length": draw.choice(["-1", "abc", "9" * 40, "1e3", "0x10", "2000000"])},
        ]
    )
    return Wrong("header", path=path, body=json.dumps(body).encode(), headers=headers)
