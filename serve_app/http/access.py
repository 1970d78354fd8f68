"""Authorisation and rate limits: the scope that a path needs, and each key's own rates.

Output contract: `enter` returns the key of an allowed request, or raises the 401, 403, 404 or 429 that answers it. A
path without a rule needs the scope `admin`; a key without it gets a 404, whether or not there is such a route.
A key has two token buckets, of requests and of tokens per minute, each of one minute's size. An answer's tokens are
known at its end and subtracted then: a bucket may fall below zero, and the key waits until it is above again. Each
replica keeps its rates in memory.
This module does not read the key file and sends nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from serve_app import errors
from serve_app.http import paths
from serve_app.keys import Key, Keyring, Scope

RULES: tuple[tuple[str, Scope], ...] = (  # the first rule that is the path, or a folder above it, decides
    ("/v1/chat/completions", "chat"),
    ("/v1/completions", "chat"),
    ("/v1/models", "chat"),
    ("/openapi.json", "chat"),
    ("/v1/feedback", "feedback"),
    ("/v1/review", "review"),
    ("/metrics", "metrics"),
)

LONGEST_WAIT = 60  # seconds of a `Retry-After`: OpenAI's clients sleep as told, and far above a minute they give up


def scope_of(path: str) -> Scope:
    """Returns the scope that a request to this path needs."""
    return next((scope for rule, scope in RULES if path == rule or path.startswith(f"{rule}/")), "admin")


class Bucket:
    """A token bucket: full at first, refilled steadily, `size` per minute."""

    def __init__(self, size: int, now: float) -> None:
        self.size, self.level, self._refilled = size, float(size), now

    def refill(self, now: float) -> None:
        """Adds the share of the time since the last call; `now` in seconds of a monotonic clock."""
        self.level = min(float(self.size), self.level + (now - self._refilled) * self.size / 60)
        self._refilled = now

    def wait(self) -> float:
        """Returns the seconds until one can be taken."""
        return max(0.0, (1 - self.level) * 60 / self.size)


class Access:
    """See the module. `clock` returns seconds that never go back."""

    def __init__(self, keyring: Keyring, clock: Callable[[], float] = time.monotonic) -> None:
        self.keyring, self.clock = keyring, clock
        self._buckets: dict[tuple[str, str, int], Bucket] = {}  # a limit that is changed starts a new one

    def enter(self, path: str, authorization: str) -> Key:
        """Returns the key of a request; counts it against the key's rate."""
        scheme, _, secret = authorization.partition(" ")
        presented = scheme.lower() == "bearer" and bool(secret.strip())
        key = self.keyring.find(secret.strip()) if presented else None
        if key is None:
            raise errors.unauthorized(presented)
        scope = scope_of(path)
        if scope not in key.scopes:
            raise paths.not_found(path) if scope == "admin" else errors.forbidden()
        requests = self._bucket(key, "requests", key.requests_per_minute)
        tokens = self._bucket(key, "tokens", key.tokens_per_minute)
        for kind, bucket in (("requests", requests), ("tokens", tokens)):
            if bucket is not None and bucket.wait() > 0:
                raise _over(kind, bucket)
        if requests is not None:
            requests.level -= 1
        return key

    def spend(self, key: Key, tokens: int) -> None:
        """Subtracts the tokens of a finished answer."""
        bucket = self._bucket(key, "tokens", key.tokens_per_minute)
        if bucket is not None:
            bucket.level -= tokens

    def _bucket(self, key: Key, kind: str, size: int | None) -> Bucket | None:
        if size is None:
            return None
        now = self.clock()
        bucket = self._buckets.setdefault((key.id, kind, size), Bucket(size, now))
        bucket.refill(now)
        return bucket


def _over(kind: str, bucket: Bucket) -> errors.ApiError:
    seconds = math.ceil(bucket.wait())
    message = f"This API key is over its rate of {bucket.size} {kind} per minute: try again in {seconds} s."
    return errors.ApiError(
        429, message, "rate_limit_exceeded", kind=kind, headers={"Retry-After": str(min(seconds, LONGEST_WAIT))}
    )
