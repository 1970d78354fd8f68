"""A set of strings that does not hold them: sorted 64-bit hashes, eight bytes each, the same in every process.

Output contract: `in` never denies a member. It takes one stranger in 2^64 / size for a member: with a million members
and a thousand million questions, one false answer is expected in 18,000 runs. Pickles as one buffer.
This module does not keep what it hashes and is no protection of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np


def hash64(text: str) -> int:
    """Returns BLAKE2b-64 of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@dataclass(frozen=True, eq=False)
class Hashes:
    """The set. `|` joins two; equal sets are equal."""

    values: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))  # sorted, without repetition

    @classmethod
    def of(cls, texts: Iterable[str]) -> Hashes:
        """Returns the set of the texts."""
        return cls(np.unique(np.fromiter((hash64(text) for text in texts), np.uint64)))

    def __contains__(self, text: str) -> bool:
        wanted = np.uint64(hash64(text))
        at = self.values.searchsorted(wanted)
        return bool(at < len(self.values) and self.values[at] == wanted)

    def __or__(self, other: Hashes) -> Hashes:
        return Hashes(np.union1d(self.values, other.values))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashes) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash(self.values.tobytes())

    def __len__(self) -> int:
        return len(self.values)
