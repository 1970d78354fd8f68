"""Access: scopes by path, nothing by default, rates by key."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from serve_app import keys
from serve_app.errors import ApiError
from serve_app.http import access
from serve_app.http.access import Access


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def key(secret: str, *scopes: str, requests: int | None = None, tokens: int | None = None) -> keys.Key:
    return keys.Key.model_validate(
        {
            "sha256": keys.digest(secret),
            "scopes": scopes,
            "created": "",
            "requests_per_minute": requests,
            "tokens_per_minute": tokens,
        }
    )


def refused(door: Access, path: str, authorization: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        door.enter(path, authorization)
    return caught.value


PATHS = {"chat": "/v1/chat/completions", "feedback": "/v1/feedback", "review": "/v1/review/1", "metrics": "/metrics"}


@pytest.mark.parametrize("scope", keys.SCOPES)
def test_a_key_of_one_scope_reaches_nothing_else(scope: str) -> None:
    door = Access(keys.Keyring([key("k", scope)]))
    for needed, path in PATHS.items():
        if needed == scope:
            assert door.enter(path, "Bearer k").scopes == (scope,)
        else:
            assert refused(door, path, "Bearer k").status == 403


@pytest.mark.parametrize("path", ["/", "/nowhere", "/v1/modelsx", "/metricsx", "/v1", "/V1/models", "//metrics"])
def test_what_no_rule_names_needs_admin_and_hides(path: str) -> None:
    door = Access(keys.Keyring([key("k", "chat", "metrics", "review", "feedback"), key("a", "admin")]))
    assert refused(door, path, "Bearer k").status == 404
    assert door.enter(path, "Bearer a").scopes == ("admin",)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic k", "k", "Bearer wrong"])
def test_without_a_good_key_all_is_401(header: str) -> None:
    door = Access(keys.Keyring([key("k", *keys.SCOPES)]))
    for path in (*PATHS.values(), "/nowhere"):
        error = refused(door, path, header)
        assert error.status == 401
        assert error.headers == {"WWW-Authenticate": "Bearer"}


def test_requests_per_minute() -> None:
    clock = Clock()
    door = Access(keys.Keyring([key("k", "chat", requests=6), key("free", "chat")]), clock)
    for _ in range(6):
        door.enter("/v1/models", "Bearer k")
    error = refused(door, "/v1/models", "Bearer k")
    assert (error.status, error.headers["Retry-After"]) == (429, "10")
    assert error.envelope["error"]["type"] == "requests"
    door.enter("/v1/models", "Bearer free")
    clock.now = 9.9
    assert refused(door, "/v1/models", "Bearer k").headers["Retry-After"] == "1"
    clock.now = 10.0
    door.enter("/v1/models", "Bearer k")
    assert refused(door, "/v1/models", "Bearer k").status == 429
    clock.now = 1000.0
    for _ in range(6):
        door.enter("/v1/models", "Bearer k")
    assert refused(door, "/v1/models", "Bearer k").status == 429


def test_tokens_per_minute_are_counted_when_they_are_known() -> None:
    clock = Clock()
    door = Access(keys.Keyring([key("k", "chat", tokens=600, requests=100)]), clock)
    admitted = door.enter("/v1/chat/completions", "Bearer k")
    door.spend(admitted, 700)
    error = refused(door, "/v1/chat/completions", "Bearer k")
    assert error.headers["Retry-After"] == "11"  # 101 tokens short, 10 come in a second
    assert error.envelope["error"]["type"] == "tokens"
    debtor = key("d", "chat", tokens=600)
    other = Access(keys.Keyring([debtor]), clock)
    other.spend(debtor, 3000)
    long = refused(other, "/v1/chat/completions", "Bearer d")
    assert long.headers["Retry-After"] == "60"  # OpenAI's clients give up when told much more
    assert "try again in 241 s" in str(long)
    clock.now = 10.2
    door.enter("/v1/chat/completions", "Bearer k")
    door.spend(key("free", "chat"), 10**9)  # no limit, nothing kept


def test_a_refusal_costs_nothing() -> None:
    clock = Clock()
    door = Access(keys.Keyring([key("k", "chat", requests=60)]), clock)
    for _ in range(60):
        door.enter("/v1/models", "Bearer k")
    for _ in range(100):
        refused(door, "/v1/models", "Bearer k")
    clock.now = 1.0
    door.enter("/v1/models", "Bearer k")


def test_rules_name_scopes_that_exist() -> None:
    assert {scope for _, scope in access.RULES} <= set(keys.SCOPES)
