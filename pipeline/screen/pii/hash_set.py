"""A set of strings kept as sorted 64-bit hashes, eight bytes each, the same in every process.

Output contract: `in` never denies a member, and accepts a string that is none with probability size / 2^64: with a
million members and a thousand million look-ups, one false answer is expected in 18,000 runs. Pickles as one buffer.
Hashing is no protection of the strings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np


def _hash64(text: str) -> int:
    """Returns the BLAKE2b-64 of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@dataclass(frozen=True, eq=False)
class HashSet:
    """The set."""

    values: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))  # sorted, distinct

    @classmethod
    def of(cls, texts: Iterable[str]) -> HashSet:
        """Builds the set of the texts."""
        return cls(np.unique(np.fromiter((_hash64(text) for text in texts), np.uint64)))

    def __contains__(self, text: str) -> bool:
        value = np.uint64(_hash64(text))
        index = self.values.searchsorted(value)
        return bool(index < len(self.values) and self.values[index] == value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HashSet) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash(self.values.tobytes())

    def __len__(self) -> int:
        return len(self.values)
