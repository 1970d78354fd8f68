"""Who may do what, and how often: the scope that a path needs, and each key's own rate.

Output contract: `enter` returns the key of a request that may go on, or raises the 401, 403, 404 or 429 to be answered.
A path that no rule names needs the scope `admin`; without it the answer is 404, whether or not there is such a route.
A key's rates are two token buckets, of requests and of tokens per minute, each as large as a minute's share. Tokens are
taken off when an answer is over, because only then are they known: a bucket may go below zero, and the key waits until
it is above again. Rates are kept in memory, by each replica for itself.
This module does not read the key file and sends nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from serve_app import errors
from serve_app.keys import Key, Keyring, Scope

RULES: tuple[tuple[str, Scope], ...] = (  # the first that is the path, or a folder above it, counts
    ("/v1/chat/completions", "chat"),
    ("/v1/completions", "chat"),
    ("/v1/models", "chat"),
    ("/openapi.json", "chat"),
    ("/v1/feedback", "feedback"),
    ("/v1/review", "review"),
    ("/metrics", "metrics"),
)


def scope_of(path: str) -> Scope:
    """Returns the scope that a request to this path needs."""
    return next((scope for rule, scope in RULES if path == rule or path.startswith(f"{rule}/")), "admin")


class Bucket:
    """A token bucket: full at first, refilled steadily, `size` per minute."""

    def __init__(self, size: int, now: float) -> None:
        self.size, self.level, self._at = size, float(size), now

    def refill(self, now: float) -> None:
        """Adds what has come in since the last call; `now` in seconds of a monotonic clock."""
        self.level = min(float(self.size), self.level + (now - self._at) * self.size / 60)
        self._at = now

    def wait(self) -> float:
        """Returns the seconds until there is one to take; 0 where there is."""
        return max(0.0, (1 - self.level) * 60 / self.size)


class Access:
    """See the module. `clock` gives seconds that never go back."""

    def __init__(self, keyring: Keyring, clock: Callable[[], float] = time.monotonic) -> None:
        self.keyring, self.clock = keyring, clock
        self._buckets: dict[tuple[str, str, int], Bucket] = {}  # a limit that is changed starts a new one

    def enter(self, path: str, authorization: str) -> Key:
        """Returns the key of a request; counts it against the key's rate."""
        scheme, _, secret = authorization.partition(" ")
        given = scheme.lower() == "bearer" and bool(secret.strip())
        key = self.keyring.find(secret.strip()) if given else None
        if key is None:
            raise errors.unauthorized(given)
        needed = scope_of(path)
        if needed not in key.scopes:
            raise errors.of_status(404) if needed == "admin" else errors.forbidden()
        self._take(key)
        return key

    def spend(self, key: Key, tokens: int) -> None:
        """Counts the tokens of an answer that is over."""
        bucket = self._bucket(key, "tokens", key.tokens_per_minute)
        if bucket is not None:
            bucket.level -= tokens

    def _take(self, key: Key) -> None:
        requests = self._bucket(key, "requests", key.requests_per_minute)
        tokens = self._bucket(key, "tokens", key.tokens_per_minute)
        for kind, bucket in (("requests", requests), ("tokens", tokens)):
            if bucket is not None and bucket.wait() > 0:
                raise _over(kind, bucket)
        if requests is not None:
            requests.level -= 1

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
    headers = {"Retry-After": str(seconds)}
    return errors.ApiError(429, message, "rate_limit_exceeded", kind=kind, headers=headers)
