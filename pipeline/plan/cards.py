"""Cards the planner knows: their memory, what they compute and move in a second.

Output contract: `CARDS` is a plain table; `card` finds an entry by name or size, `card_of` by the name and memory that
a driver reports.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Card:
    """A GPU: `gib` of memory as its driver reports it, `peak` bf16 FLOP/s that large matrix products reach, `bandwidth`
    of its memory in bytes/s; `fp8`: it multiplies FP8 with scales of rows, at twice that peak. `assumed`: the figures
    are those of another card of its size."""

    name: str
    gib: float
    peak: float
    bandwidth: float
    fp8: bool
    assumed: str | None = None


def _card(name: str, gib: float, datasheet: float, gigabytes: float, fp8: bool = True) -> Card:
    """Takes the data sheet's dense bf16 TFLOP/s (float32 accumulation): large products reach 0.8 of them (790 of 989
    measured on Hopper)."""
    return Card(name, gib, 0.8e12 * datasheet, 1e9 * gigabytes, fp8)


CARDS = (
    _card("RTX 4080", 15.7, 97.5, 717),
    _card("RTX 4090", 23.5, 165.2, 1008),
    _card("RTX 3090", 23.6, 71.0, 936, fp8=False),
    _card("L4", 22.0, 121.0, 300),
    _card("RTX 5090", 31.3, 209.5, 1792),
    _card("A100-40", 39.4, 312.0, 1555, fp8=False),
    _card("L40S", 44.4, 362.0, 864),
    _card("A100-80", 79.1, 312.0, 2039, fp8=False),
    _card("H100", 79.1, 989.0, 3350),
    _card("H200", 139.7, 989.0, 4800),
)
SIZES = {"16": "RTX 4080", "24": "RTX 4090", "40": "A100-40", "80": "A100-80", "141": "H200"}
"""The card that a size in GB stands for: of the common ones with so much memory the slower."""


def card(name: str) -> Card:
    """Returns a card by name (`4090`, `a100-80`, `H200`) or size in GB (`24`); raises `ConfigError` for another."""
    wanted = SIZES.get(name, name).lower().replace(" ", "").removeprefix("rtx")
    for candidate in CARDS:
        if candidate.name.lower().replace(" ", "").removeprefix("rtx") == wanted:
            return candidate
    names = ", ".join(candidate.name for candidate in CARDS)
    raise ConfigError(f"no card {name} in the table: known are {names}, or a size in GB out of {', '.join(SIZES)}")


def card_of(name: str, gib: float) -> Card:
    """Returns the card that a driver calls `name`, with the memory it really has.

    One that is not in the table gets the figures of the slowest one of the next smaller size, and says so.
    """
    words = name.replace("-", " ").split()
    for candidate in CARDS:
        model = candidate.name.removeprefix("RTX ").split("-")[0]
        if model in words and abs(candidate.gib - gib) < 0.2 * candidate.gib:
            return replace(candidate, gib=gib)
    smaller = [candidate for candidate in CARDS if candidate.gib <= gib * 1.02] or [min(CARDS, key=lambda c: c.gib)]
    nearest = min((c for c in smaller if c.gib == max(s.gib for s in smaller)), key=lambda c: c.peak)
    return Card(name, gib, nearest.peak, nearest.bandwidth, fp8=False, assumed=nearest.name)
