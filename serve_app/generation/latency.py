"""The times of an answer's tokens, from which latencies are computed.

Output contract: each choice has a `TokenTimes`; `record` costs well under a microsecond and keeps no list of times. A
gap lies between two chunks of the engine, as in vLLM, however many tokens a chunk holds.
This module knows no clock but the caller's and no requests.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

GAPS = (  # seconds: the upper bounds that vLLM has
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)


@dataclass(slots=True)
class TokenTimes:
    """One choice; `answer` sets `tokens` at its end. Times are seconds of the caller's clock."""

    first: float | None = None
    last: float = 0.0
    tokens: int = 0
    gaps: list[int] = field(default_factory=lambda: [0] * (len(GAPS) + 1))  # their number up to each bound, then beyond
    finish_reason: str | None = None

    def record(self, now: float) -> None:
        """Records that a chunk of the answer came at `now`."""
        if self.first is None:
            self.first = now
        else:
            self.gaps[bisect_left(GAPS, now - self.last)] += 1
        self.last = now

    @property
    def per_token(self) -> float | None:
        """Mean seconds from token to token after the first; None where there are none."""
        return None if self.first is None or self.tokens < 2 else (self.last - self.first) / (self.tokens - 1)
