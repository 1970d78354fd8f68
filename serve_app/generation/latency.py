"""When an answer's tokens came: what latencies are made of, noted token by token as cheaply as can be.

Output contract: a `Meter` per choice; `mark` costs well under a microsecond and keeps no list of times. A gap lies
between one piece of the engine's and the next, as in vLLM, however many tokens the piece holds.
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
class Meter:
    """One choice; whoever counts its tokens sets `tokens`. Times are of `mark`'s clock; None where nothing came."""

    first: float | None = None
    last: float = 0.0
    tokens: int = 0
    gaps: list[int] = field(default_factory=lambda: [0] * (len(GAPS) + 1))  # how many up to each bound, then beyond
    finish_reason: str | None = None

    def mark(self, now: float) -> None:
        """Notes that a piece of the answer has come."""
        if self.first is None:
            self.first = now
        else:
            self.gaps[bisect_left(GAPS, now - self.last)] += 1
        self.last = now

    @property
    def per_token(self) -> float | None:
        """Mean seconds from token to token after the first; None where there are none."""
        return None if self.first is None or self.tokens < 2 else (self.last - self.first) / (self.tokens - 1)
